/**
 * A loaded ensemble: its operators in sessions of their own, batched like a model, and its models by whoever holds
 * them when a request comes. Answers are not cached as a whole, because what an alias inside stands for may change;
 * the predictions of its models are, each under its own.
 */

import { MAX_DEPTH } from "../ensemble/ensemble-registry.ts";
import { executePlan, type RunNode } from "../ensemble/execution.ts";
import type { Plan, PlanNode } from "../ensemble/plan.ts";
import { DrainingError, InvalidModelError, QueueFullError } from "../errors.ts";
import type { EnsembleStepMap, ModelStep } from "../protocol/ensembles.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import type { LoadedModel, ModelName } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Batcher, BatchPolicy, SubmitOptions } from "./batcher.ts";
import type { Clock } from "./clock.ts";
import { checkInputs } from "./request-check.ts";
import type { VersionStatistics } from "./statistics.ts";
import type { PredictStep } from "./step-models.ts";

/** A graph of operators in the worker pool. */
export type LoadedOperators = { loaded: LoadedModel; batcher: Batcher; release(): Promise<void> };

export type EnsembleVersionOptions = {
  name: ModelName;
  plan: Plan;
  /** Of every node that is operators. */
  operators: ReadonlyMap<PlanNode, LoadedOperators>;
  predictStep: PredictStep;
  policy: BatchPolicy;
  clock: Clock;
  statistics: VersionStatistics;
};

export type EnsembleAnswer = { outputs: Tensor[]; steps: Record<string, string> };

/** Of a batch in the statistics, which keep one row for each size. */
const MAX_COUNTED_ROWS = 4096;

export class EnsembleVersion {
  readonly plan: Plan;
  readonly #options: EnsembleVersionOptions;
  #policy: BatchPolicy;
  #inWork = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #draining = false;

  constructor(options: EnsembleVersionOptions) {
    this.plan = options.plan;
    this.#options = options;
    this.#policy = options.policy;
  }

  /** Every step, with what it reads and writes. */
  get stepMaps(): EnsembleStepMap[] {
    const same = (tensors: readonly string[]) =>
      Object.fromEntries(tensors.map((tensor) => [tensor, tensor]));
    return this.plan.nodes.map((node) =>
      node.kind === "model"
        ? node.step
        : { name: node.name, inputs: same(node.reads), outputs: same(node.writes) },
    );
  }

  /** The steps that are models. */
  get modelSteps(): ModelStep[] {
    return this.plan.nodes.flatMap((node) => (node.kind === "model" ? [node.step] : []));
  }

  /** Requests in work: each waits in the queue of the step it is at. */
  get queued(): number {
    return this.#inWork;
  }

  set policy(policy: BatchPolicy) {
    this.#policy = policy;
    for (const { batcher } of this.#options.operators.values()) batcher.policy = policy;
  }

  /**
   * @param request with inputs that fit the ensemble's, in its order
   * @param outputs names of those wanted; undefined: all
   * @throws {StepError} {QueueFullError} {DeadlineExceededError} {CancelledError} {DrainingError} {InvalidModelError}
   */
  async predict(
    request: Omit<PredictRequest, "model" | "version" | "outputs">,
    outputs: readonly string[] | undefined,
    { deadlineMs = Number.POSITIVE_INFINITY, signal }: SubmitOptions,
  ): Promise<EnsembleAnswer> {
    const { name, clock, statistics } = this.#options;
    if (this.#draining) throw new DrainingError(this.#title());
    if (this.#inWork >= this.#policy.maxQueue) throw new QueueFullError(name.model, this.#policy.maxQueue);
    const within = this.#descend(request.within ?? []);
    const steps: Record<string, string> = {};
    const startedAt = clock.now();
    this.#inWork++;
    try {
      const answer = await executePlan(this.plan, request.inputs, outputs, {
        run: this.#runner({ ...request, within }, steps),
        what: this.#title(),
        deadlineMs,
        signal,
        now: () => clock.now(),
        after: (delayMs, action) => clock.after(delayMs, action),
      });
      const rows = Math.min(request.inputs[0]?.shape[0] || 1, MAX_COUNTED_ROWS);
      statistics.ran(rows, [0], { inputMs: 0, inferMs: clock.now() - startedAt, outputMs: 0 });
      return { outputs: answer, steps };
    } finally {
      this.#inWork--;
      if (this.#inWork === 0) this.#idle?.resolve();
    }
  }

  /** As a batcher is asked: with nothing but the tensors. */
  async submit(
    inputs: readonly Tensor[],
    outputs: readonly string[] | undefined,
    { priority, ...options }: SubmitOptions = {},
  ): Promise<Tensor[]> {
    const request = { inputs: [...inputs], ...(priority !== undefined && { priority }) };
    return (await this.predict(request, outputs, options)).outputs;
  }

  /** Resolves once nothing is in work, or after `timeoutMs`; takes requests meanwhile. */
  async idle(timeoutMs: number): Promise<void> {
    if (this.#inWork === 0) return;
    this.#idle ??= Promise.withResolvers();
    const giveUp = this.#options.clock.after(timeoutMs, () => this.#idle?.resolve());
    await this.#idle.promise;
    giveUp.cancel();
    this.#idle = undefined;
  }

  /** Takes no new requests, finishes those it has; waits no longer than `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    await this.idle(timeoutMs);
    await Promise.all([...this.#options.operators.values()].map(({ batcher }) => batcher.drain(timeoutMs)));
  }

  /** Frees the sessions of its operators. */
  async release(): Promise<void> {
    await Promise.all([...this.#options.operators.values()].map((operators) => operators.release()));
  }

  #runner(
    request: Omit<PredictRequest, "model" | "version" | "outputs">,
    steps: Record<string, string>,
  ): RunNode {
    const { operators, predictStep } = this.#options;
    const { inputs: _, timeoutMs: __, ...terms } = request;
    return async (node, tensors, options) => {
      if (node.kind === "operators") {
        const { loaded, batcher } = operators.get(node)!;
        const inputs = checkInputs([...tensors.values()], loaded.signature, loaded.batchable, true);
        return batcher.submit(inputs, undefined, { ...options, priority: request.priority });
      }
      const { step } = node;
      const response = await predictStep(
        {
          ...terms,
          model: step.model,
          ...(step.version !== undefined && { version: step.version }),
          inputs: Object.entries(step.inputs).map(([name, tensor]) => ({ ...tensors.get(tensor)!, name })),
          outputs: Object.keys(step.outputs),
          // What one step makes of numbers is the next one's to judge.
          nonFinite: true,
        },
        options,
      );
      steps[step.name] = `${response.model}/${response.version}`;
      return response.outputs.map((tensor) => ({ ...tensor, name: step.outputs[tensor.name]! }));
    };
  }

  /** The ensembles that the request is in, this one last. */
  #descend(within: readonly string[]): string[] {
    const { model, version } = this.#options.name;
    const own = `${model}/${version}`;
    const path = [...within, own];
    if (within.includes(own))
      throw new InvalidModelError(this.#title(), `it is a step of itself: ${path.join(" → ")}`);
    if (path.length > MAX_DEPTH)
      throw new InvalidModelError(
        this.#title(),
        `ensembles more than ${MAX_DEPTH} deep: ${path.join(" → ")}`,
      );
    return path;
  }

  #title(): string {
    const { model, version } = this.#options.name;
    return `Ensemble '${model}' version '${version}'`;
  }
}
