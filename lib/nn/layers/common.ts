/** What several layers share: activation, initialised weights, Keras options that are accepted or refused alike. */

import type { Value } from "../../onnx/builder.ts";
import { activationOf } from "../activations/table.ts";
import { type ConfigReader, kerasObject } from "../config-reader.ts";
import { constraintOf } from "../constraints.ts";
import { type Initializer, initializerOf } from "../initializers.ts";
import type { LayerContext, LayerValue, WeightSpec } from "../layer.ts";
import { readRegularizer } from "../regularizers.ts";

/** Reads an activation, by name or with its options; the result applies it. */
export function readActivation(
  config: ConfigReader,
  name = "activation",
  fallback = "linear",
): (c: LayerContext, x: LayerValue) => LayerValue {
  const activation = activationOf(config.component(name, fallback), `${config.where}.${name}`);
  return (c, x) => activation(c.graph, x);
}

export function readInitializer(config: ConfigReader, name: string, fallback: string): Initializer {
  return initializerOf(config.component(name, fallback), `${config.where}.${name}`);
}

/** What a weight is declared with besides its shape; spread into `LayerContext.weight`. */
export type DeclaredWeight = Pick<WeightSpec, "initializer" | "regularizer" | "constraint">;

/** Reads `<variable>_initializer`, `<variable>_regularizer` and `<variable>_constraint`. */
export function readWeight(config: ConfigReader, variable: string, fallback: string): DeclaredWeight {
  const initializer = readInitializer(config, `${variable}_initializer`, fallback);
  const regularizer = readRegularizer(config, `${variable}_regularizer`);
  const declared = config.raw(`${variable}_constraint`);
  const where = `${config.where}.${variable}_constraint`;
  const constraint = declared === undefined ? undefined : constraintOf(kerasObject(declared, where), where);
  return { initializer, ...(regularizer ? { regularizer } : {}), ...(constraint ? { constraint } : {}) };
}

/** Options Keras writes for weighted layers that are not supported unless they are unset. */
export function refusePenalties(config: ConfigReader, ...variables: string[]): void {
  for (const variable of variables) {
    config.unset(`${variable}_regularizer`);
    config.unset(`${variable}_constraint`);
  }
  config.unset("lora_rank");
  config.unset("lora_alpha");
  config.unset("quantization_config");
}

/** Shape [1, ..., size, ..., 1] with `size` at `axis`, to broadcast a vector. */
export function alongAxis(c: LayerContext, vector: Value, rank: number, axis: number): Value {
  if (axis === rank - 1) return vector;
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? -1 : 1));
  return c.graph.op("Reshape", [vector, c.graph.ints(shape)]);
}
