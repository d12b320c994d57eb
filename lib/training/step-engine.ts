/**
 * What runs the steps of a training run: batches of examples in, losses and measures out, the trained state kept in
 * between. `TrainingRun` has the epochs around it; the engines are ONNX Runtime (step-runner.ts) and TensorFlow.js
 * (tfjs/). Weights are always kept and given as `WeightPlan` lays them out, whatever an engine works on.
 */

import type { ColumnChoice } from "../data/bind-examples.ts";
import type { Examples } from "../data/examples.ts";
import type { Network } from "../nn/network.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { KeptWeights } from "./callbacks/callback-list.ts";
import type { DivergenceOrigin } from "./divergence.ts";
import type { ProviderName } from "./execution-provider.ts";
import type { Means, MeasuredOutput, StepResult } from "./measures.ts";
import type { Objective } from "./objective.ts";
import type { RunSnapshot } from "./run-snapshot.ts";
import type { TrainedState } from "./state-buffers.ts";
import type { WeightPlan } from "./step-graph.ts";

export type StepOptions = {
  network: Network;
  objective: Objective;
  optimizer: Optimizer;
  seed: number;
  /** Most examples of a step; an evaluation takes no more memory than training does. */
  batchSize: number;
  /** Weights that do not begin afresh, by name and as they lie in memory. */
  initialWeights?: ReadonlyMap<string, Float32Array> | undefined;
  /** Threads one step may use. */
  threads: number;
  /** Which columns feed and which are compared with. @default by name */
  columns?: ColumnChoice;
  /** Where ONNX Runtime computes. @default "cpu" */
  provider?: ProviderName;
};

/** More do not make it faster. */
const MAX_EVALUATION_BATCH = 256;

/** How many examples are evaluated at a time. */
export function evaluationBatch({ batchSize }: Pick<StepOptions, "batchSize">): number {
  return Math.min(MAX_EVALUATION_BATCH, batchSize);
}

export type StepSnapshot = Pick<RunSnapshot, "state" | "dropout" | "changedRate">;

export interface StepEngine {
  readonly plan: WeightPlan;
  readonly outputs: readonly MeasuredOutput[];
  /** Steps done. */
  readonly step: number;
  /** The state after the last step; copies. */
  state(): TrainedState;
  /** The state, the stream of the steps' random tensors and a learning rate that was set; copies. */
  snapshot(): StepSnapshot;
  /** @throws {InvalidModelError} when the snapshot is of another network, optimiser or engine */
  restore(snapshot: StepSnapshot): void;
  /** The learning rate of the next step. */
  learningRate(): number;
  /** Takes the place of the optimiser's own rate. */
  setLearningRate(rate: number): void;
  /** What the network needs to answer; copies. */
  keptWeights(): KeptWeights;
  /** Goes back to weights of earlier; the optimiser's slots stay as they are. */
  adopt(kept: KeptWeights): void;
  /** Whether every weight and statistic is a number. */
  isFinite(): boolean;
  /** An optimiser that averages its weights ends with the averages. */
  adoptFinalWeights(): void;
  /**
   * Means over the given rows, with the network in evaluation mode. `atRest` is called before every batch; what it
   * throws ends the evaluation.
   */
  evaluate(rows: Uint32Array, atRest?: () => Promise<void> | undefined): Promise<Means>;
  /** One step on the given rows. */
  trainBatch(rows: Uint32Array): Promise<StepResult>;
  /** Where the last step, of as many rows, began to give what is no number; undefined where that cannot be told. */
  findDivergence(rows: number): Promise<DivergenceOrigin | undefined>;
  /** Frees what the engine holds. */
  close(): Promise<void>;
}

/** @throws {InvalidInputError} when the examples do not fit the network */
export type MakeEngine = (options: StepOptions, examples: Examples) => StepEngine;
