/**
 * A model's rollout on one node: requests that name no version, or production, pass through here. They are answered by
 * the canary or by production, and copied to the shadow; each answer is one version's and says which. While the canary
 * is not loaded, and once it has crossed a bound here, production answers them all.
 */

import type { PredictRequest, PredictResponse } from "../protocol/inference.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { RolloutRecord } from "../protocol/models.ts";
import type { RolloutReport, RolloutState } from "../protocol/rollout.ts";
import type { BatchRunner, SubmitOptions } from "./batcher.ts";
import { CanaryTrial, type RollBackCause, type Run } from "./canary-trial.ts";
import type { Clock } from "./clock.ts";
import type { ReadyVersion, ServedModel } from "./served-model.ts";
import { Shadow } from "./shadow.ts";

/** A canary that is to be taken back. */
export type FailedCanary = { model: string; version: number; startedAt: string; reason: string };

export type RolloutOptions = {
  clock: Clock;
  /** 0 to below 1. @default Math.random */
  random?: (() => number) | undefined;
  runner: Pick<BatchRunner, "capacity" | "onRoom">;
  metrics: MetricSink;
  /** Deadline of copies. */
  timeoutMs: number;
  run: Run;
  /** Takes a canary back on every node. What it throws leaves it to the next `follow`. */
  rollBack: (canary: FailedCanary) => Promise<void>;
};

/** Attempts at loading a canary whose failures may pass. */
const MAX_LOAD_ATTEMPTS = 3;

export class ServedRollout {
  readonly #model: ServedModel;
  readonly #options: RolloutOptions;
  readonly #startedAt: string;
  #trial: CanaryTrial | undefined;
  #shadow: Shadow | undefined;
  #takingBack = false;

  constructor(model: ServedModel, { canary, shadow, startedAt }: RolloutRecord, options: RolloutOptions) {
    const { clock, random = Math.random, runner, metrics, timeoutMs, run } = options;
    this.#model = model;
    this.#options = options;
    this.#startedAt = startedAt;
    const common = { model: model.record.model, clock, random, metrics };
    if (canary)
      this.#trial = new CanaryTrial({
        ...common,
        canary,
        run,
        onFailed: (cause, reason) => this.#failed(cause, reason),
      });
    if (shadow)
      this.#shadow = new Shadow({
        ...common,
        shadow,
        ready: () => model.ready(shadow.version),
        runner,
        timeoutMs,
      });
  }

  /**
   * In line with the model's record: takes a canary back that has failed, or could not be loaded.
   * @returns whether the record still means this rollout
   */
  follow(): boolean {
    const { rollout } = this.#model.record;
    if (rollout?.startedAt !== this.#startedAt) return false;
    if (!rollout.canary) this.#trial = undefined;
    if (!rollout.shadow) this.#endShadow();
    if (!this.#trial) return true;
    const held = rollout.canary && this.#model.versions.get(rollout.canary.version);
    if (held?.state === "failed" && (held.lasting || held.attempts >= MAX_LOAD_ATTEMPTS))
      this.#trial.fail("load", `it could not be loaded: ${held.reason}`);
    if (this.#trial.failure !== "") this.#takeBack(this.#trial.failure);
    return true;
  }

  /** Never throws, but rejects. */
  answer(
    production: ReadyVersion,
    request: PredictRequest,
    options: SubmitOptions,
  ): Promise<PredictResponse> {
    const { canary } = this.#model.record.rollout ?? {};
    const trial = this.#trial;
    const ready = canary && trial ? this.#model.ready(canary.version) : undefined;
    if (trial && ready && ready !== production && trial.draws(production, request.affinity))
      return trial.answer(ready, () => this.#model.resolve(request.version), request, options);
    return this.#answerAlone(production, request, options);
  }

  close(): void {
    this.#trial = undefined;
    this.#endShadow();
  }

  report(nodeID: string): RolloutReport {
    const { model, rollout } = this.#model.record;
    const report: RolloutReport = { model, nodeID };
    if (this.#trial && rollout?.canary)
      report.canary = { ...this.#trial.report(), ...this.#stateOf(rollout.canary.version) };
    if (this.#shadow && rollout?.shadow)
      report.shadow = { ...this.#shadow.report(), ...this.#stateOf(rollout.shadow.version) };
    return report;
  }

  /** By production, as far as the caller can tell. */
  #answerAlone(
    production: ReadyVersion,
    request: PredictRequest,
    options: SubmitOptions,
  ): Promise<PredictResponse> {
    const { clock, run } = this.#options;
    const startedAt = clock.now();
    return run(production, request, options).then(
      (response) => {
        const tookMs = clock.now() - startedAt;
        if (!response.cached) {
          this.#trial?.productionAnswered(tookMs);
          this.#shadow?.mirror({ request, outputs: response.outputs, tookMs });
        }
        return response;
      },
      (error: unknown) => {
        this.#trial?.productionFailed(error);
        throw error;
      },
    );
  }

  #failed(cause: RollBackCause, reason: string): void {
    this.#options.metrics.increment("moiety.rollout.rollbacks", { model: this.#model.record.model, cause });
    this.#takeBack(reason);
  }

  #takeBack(reason: string): void {
    const { model, rollout } = this.#model.record;
    if (this.#takingBack || !rollout?.canary) return;
    this.#takingBack = true;
    const { version } = rollout.canary;
    this.#options
      .rollBack({ model, version, startedAt: this.#startedAt, reason })
      .catch(() => {})
      .finally(() => {
        this.#takingBack = false;
      });
  }

  #endShadow(): void {
    this.#shadow?.close();
    this.#shadow = undefined;
  }

  #stateOf(version: number): { state: RolloutState; reason: string } {
    const held = this.#model.versions.get(version);
    if (!held) return { state: "absent", reason: "" };
    return { state: held.state, reason: held.state === "failed" ? held.reason : "" };
  }
}
