/**
 * What an optimiser is: pure functions over one flat vector of all trained weights. `scalars(step)` is computed
 * outside the graph (learning rate, bias corrections) and fed with every step; `update` appends the arithmetic.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";

export type Optimizer = {
  /** Names of the vectors it keeps per weight, all beginning at zero. */
  slots: readonly string[];
  /** How many numbers `scalars` gives. */
  scalarCount: number;
  /** Values for step 1, 2, 3 … */
  scalars(step: number): number[];
  /** Next weights and slots from the gradient; every value is FP32 [parameters], scalars are FP32 []. */
  update(
    graph: GraphBuilder,
    state: { weights: Value; gradient: Value; slots: readonly Value[]; scalars: readonly Value[] },
  ): { weights: Value; slots: Value[] };
};

export type OptimizerDefinition = (config: ConfigReader) => Optimizer;
