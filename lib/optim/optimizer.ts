/**
 * What an optimiser is: pure functions over one flat vector of all trained weights. `scalars(step)` is computed
 * outside the graph (learning rate, bias corrections) and fed with every step; `update` appends the arithmetic.
 * Clipping, weight decay, gradient accumulation and averaging are laid around an optimiser by lib/optim/table.ts.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { LearningRate } from "./learning-rate.ts";

/** Every value is FP32: vectors [parameters], scalars []. */
export type OptimizerState = {
  /** Elements of each of the weights that the vectors are made of, one after another. */
  sizes: readonly number[];
  weights: Value;
  gradient: Value;
  slots: readonly Value[];
  scalars: readonly Value[];
};

export type Optimizer = {
  learningRate: LearningRate;
  /** Names of the vectors it keeps per weight. */
  slots: readonly string[];
  /** What the elements of a slot begin at. @default 0 */
  initialSlots?: Readonly<Record<string, number>>;
  /** The decoupled decay where the option `weight_decay` is not given. @default 0 */
  defaultWeightDecay?: number;
  /** How many numbers `scalars` gives. */
  scalarCount: number;
  /**
   * Values for step 1, 2, 3 …, at a learning rate that is `learningRate.at(step)` unless the run has changed it: a
   * function of these alone, so that a run can go on from any step.
   */
  scalars(step: number, rate: number): number[];
  /** Steps whose gradients are averaged for one update. @default 1 */
  stepsPerUpdate?: number;
  /** The slot that a run which has ended takes for its weights. */
  finalWeights?: string;
  /** Next weights and slots from the gradient. */
  update(graph: GraphBuilder, state: OptimizerState): { weights: Value; slots: Value[] };
};

export type OptimizerDefinition = (config: ConfigReader) => Optimizer;
