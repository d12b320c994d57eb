/**
 * Loads ensembles: reads the specification, asks what its models take and give, and gives its operators sessions in the
 * worker pool. An ensemble whose models are not known yet fails for the moment, where it has to know them.
 */

import { type Plan, type PlanNode, planEnsemble } from "../ensemble/plan.ts";
import { readEnsemble } from "../ensemble/read-ensemble.ts";
import { errorMessage, UnavailableError } from "../errors.ts";
import type { ModelStep } from "../protocol/ensembles.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { ModelSignature } from "../protocol/models.ts";
import type { InferencePool, InstanceName, LoadOptions } from "../runtime/worker-pool.ts";
import { Batcher, type BatchPolicy, type BatchRunner } from "./batcher.ts";
import type { Clock } from "./clock.ts";
import { EnsembleVersion, type LoadedOperators } from "./ensemble-version.ts";
import type { VersionStatistics } from "./statistics.ts";
import type { PredictStep } from "./step-models.ts";

export type EnsembleLoaderOptions = {
  pool: BatchRunner & Pick<InferencePool, "load" | "unload">;
  clock: Clock;
  metrics: MetricSink;
  /** As it was published. */
  specification(model: string, version: string): Promise<unknown>;
  /** What a step's model takes and gives; undefined where no such model is known. */
  signatureOf(step: ModelStep): Promise<ModelSignature | undefined>;
  predictStep: PredictStep;
};

export type EnsembleLoad = {
  name: InstanceName;
  /** Of the operators' sessions. */
  options: LoadOptions;
  policy: BatchPolicy;
  statistics: VersionStatistics;
};

export class EnsembleLoader {
  readonly #options: EnsembleLoaderOptions;

  constructor(options: EnsembleLoaderOptions) {
    this.#options = options;
  }

  /** @throws {InvalidInputError} {InvalidModelError} {ModelCorruptError} {UnavailableError} */
  async load({ name, options, policy, statistics }: EnsembleLoad): Promise<EnsembleVersion> {
    const { clock, predictStep } = this.#options;
    const plan = await this.#plan(name);
    const operators = new Map<PlanNode, LoadedOperators>();
    try {
      for (const node of plan.nodes)
        if (node.kind === "operators")
          operators.set(
            node,
            await this.#loadOperators(
              { ...name, version: `${name.version}:${node.name}` },
              node.graph.model(),
              options,
              policy,
            ),
          );
    } catch (error) {
      for (const { release } of operators.values()) await release();
      throw error;
    }
    return new EnsembleVersion({ name, plan, operators, predictStep, policy, clock, statistics });
  }

  async #plan(name: InstanceName): Promise<Plan> {
    const ensemble = readEnsemble(await this.#options.specification(name.model, name.version));
    const models = ensemble.steps.filter((step) => "model" in step);
    const signatures = new Map(
      await Promise.all(models.map(async (step) => [step, await this.#options.signatureOf(step)] as const)),
    );
    try {
      return planEnsemble(ensemble, (step) => signatures.get(step));
    } catch (error) {
      const unknown = models.filter((step) => !signatures.get(step)).map(({ model }) => `'${model}'`);
      if (unknown.length === 0) throw error;
      throw new UnavailableError(
        `Ensemble '${name.model}' version '${name.version}'`,
        `${errorMessage(error)} (not found: ${unknown.join(", ")})`,
      );
    }
  }

  async #loadOperators(
    name: InstanceName,
    bytes: Uint8Array,
    options: LoadOptions,
    policy: BatchPolicy,
  ): Promise<LoadedOperators> {
    const { pool, clock, metrics } = this.#options;
    // Warm-up requests are for the ensemble's inputs, which these need not have.
    const loaded = await pool.load(name, { bytes }, { ...options, warmup: undefined });
    const batcher = new Batcher({ name, model: loaded, runner: pool, policy, clock, metrics });
    return { loaded, batcher, release: () => pool.unload(name) };
  }
}
