/**
 * One canary on one node: which requests it gets, what became of them beside production's, and when it is to be taken
 * back. A request that fails on the canary is answered by production, once, while its deadline lasts: that also tells
 * whose fault it was. What production refuses or fails at in the same way says nothing against the canary.
 */

import { errorType } from "../errors.ts";
import type { PredictRequest, PredictResponse } from "../protocol/inference.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { Canary } from "../protocol/models.ts";
import type { CanaryReport } from "../protocol/rollout.ts";
import type { SubmitOptions } from "./batcher.ts";
import { drawsCanary } from "./canary-draw.ts";
import { judgeCanary } from "./canary-verdict.ts";
import { CanaryWindow } from "./canary-window.ts";
import type { Clock } from "./clock.ts";
import type { ReadyVersion } from "./served-model.ts";

/** Answers a request with a version. Never throws, but rejects. */
export type Run = (
  version: ReadyVersion,
  request: PredictRequest,
  options: SubmitOptions,
) => Promise<PredictResponse>;

export type CanaryTrialOptions = {
  model: string;
  canary: Canary;
  clock: Clock;
  /** 0 to below 1. */
  random: () => number;
  metrics: MetricSink;
  run: Run;
  /** Told once, that the canary is to be taken back and why. */
  onFailed: (cause: RollBackCause, reason: string) => void;
};

export type RollBackCause = "errorRate" | "latency" | "load";

/** @default of `Canary.bounds.minRequests` */
const MIN_REQUESTS = 50;
/** What a version is to blame for. Full queues, clients that leave and bad input are not. */
const FAULTS = new Set(["EXECUTION_FAILED", "WORKER_CRASHED", "DEADLINE_EXCEEDED", "INTERNAL"]);

export class CanaryTrial {
  readonly #options: CanaryTrialOptions;
  #window: CanaryWindow;
  /** The version it is compared with. */
  #against: number | undefined;
  #requests = 0;
  #failures = 0;
  #answeredByProduction = 0;
  #failure = "";

  constructor(options: CanaryTrialOptions) {
    this.#options = options;
    this.#window = this.#newWindow();
  }

  /** Whether this request is the canary's. After a failure none is. */
  draws(production: ReadyVersion, affinity: string | undefined): boolean {
    if (production.number !== this.#against) {
      this.#against = production.number;
      this.#window = this.#newWindow();
    }
    const { model, canary, random } = this.#options;
    return this.#failure === "" && drawsCanary({ model, ...canary }, affinity, random);
  }

  /**
   * The canary's answer; failing that, production's.
   * @param production which version that is by then
   */
  answer(
    canary: ReadyVersion,
    production: () => ReadyVersion,
    request: PredictRequest,
    options: SubmitOptions,
  ): Promise<PredictResponse> {
    const { clock, run } = this.#options;
    const startedAt = clock.now();
    this.#requests++;
    return run(canary, request, options).then(
      (response) => {
        this.#count("ok");
        if (!response.cached) {
          this.#window.answered("canary", clock.now() - startedAt);
          this.#judge();
        }
        return response;
      },
      (error: unknown) => {
        const left = options.signal?.aborted || errorType(error) === "CANCELLED";
        const leftMs = (options.deadlineMs ?? Number.POSITIVE_INFINITY) - (clock.now() - startedAt);
        if (!left && leftMs > 0)
          return this.#answerInstead(production, request, { ...options, deadlineMs: leftMs }, error);
        this.#failed(error, !left && FAULTS.has(errorType(error)));
        throw error;
      },
    );
  }

  /** Production has answered a request of its own. */
  productionAnswered(tookMs: number): void {
    this.#window.answered("production", tookMs);
  }

  /** Production has failed at a request of its own. */
  productionFailed(error: unknown): void {
    if (FAULTS.has(errorType(error))) this.#window.failed("production");
  }

  /** Gives the canary up; the first reason stays. */
  fail(cause: RollBackCause, reason: string): void {
    if (this.#failure !== "") return;
    this.#failure = reason;
    this.#options.onFailed(cause, reason);
  }

  get failure(): string {
    return this.#failure;
  }

  report(): Omit<CanaryReport, "state" | "reason"> {
    const { version, weight } = this.#options.canary;
    return {
      version,
      weight,
      requests: this.#requests,
      failures: this.#failures,
      answeredByProduction: this.#answeredByProduction,
      recent: { canary: this.#window.read("canary"), production: this.#window.read("production") },
      rollBack: this.#failure,
    };
  }

  async #answerInstead(
    production: () => ReadyVersion,
    request: PredictRequest,
    options: SubmitOptions,
    failure: unknown,
  ): Promise<PredictResponse> {
    const type = errorType(failure);
    try {
      const response = await this.#options.run(production(), request, options);
      this.#answeredByProduction++;
      // What production takes, the canary must take.
      this.#failed(failure, FAULTS.has(type) || type === "INVALID_INPUT");
      return response;
    } catch (error) {
      this.#failed(failure, FAULTS.has(type) && errorType(error) !== type);
      throw error;
    }
  }

  #failed(failure: unknown, blamed: boolean): void {
    this.#count(errorType(failure));
    if (!blamed) return;
    this.#failures++;
    this.#window.failed("canary");
    this.#judge();
  }

  #judge(): void {
    const { canary } = this.#options;
    const { bounds = {} } = canary;
    const verdict = judgeCanary(this.#window.read("canary"), this.#window.read("production"), {
      minRequests: MIN_REQUESTS,
      ...bounds,
    });
    if (verdict) this.fail(verdict.cause, verdict.reason);
  }

  #count(outcome: string): void {
    const { metrics, model } = this.#options;
    metrics.increment("moiety.rollout.canary.requests", { model, outcome });
  }

  #newWindow(): CanaryWindow {
    const { clock, canary } = this.#options;
    return new CanaryWindow({ clock, minRequests: canary.bounds?.minRequests ?? MIN_REQUESTS });
  }
}
