/** What several layers share: activation, initialised weights, Keras options that are accepted or refused alike. */

import type { Value } from "../../onnx/builder.ts";
import { activationOf } from "../activations.ts";
import type { ConfigReader } from "../config-reader.ts";
import { type Initializer, initializerOf } from "../initializers.ts";
import { inKerasOrder, type LayerContext, type LayerValue, type WeightSpec } from "../layer.ts";

/** Reads `activation`; the result applies it and remembers the scores before a softmax or sigmoid. */
export function readActivation(config: ConfigReader): (c: LayerContext, x: LayerValue) => LayerValue {
  const declared = config.component("activation", "linear");
  const name = declared.class_name.toLowerCase();
  // An activation given as a layer of its own (ReLU with a ceiling, say) has options that would be lost.
  if (Object.keys(declared.config).length > 0)
    config.refuse("activation", declared, "an activation by name, without options");
  const activation = activationOf(name);
  return (c, x) => {
    if (name === "linear") return x;
    // Softmax runs along Keras's last axis; the others do not care about the order of axes.
    const placed: LayerValue = name === "softmax" ? { value: inKerasOrder(c.graph, x) } : x;
    const value = activation(c.graph, placed.value);
    const kept = placed.order ? { order: placed.order } : {};
    return name === "softmax" || name === "sigmoid"
      ? { value, ...kept, logits: { value: placed.value, activation: name } }
      : { value, ...kept };
  };
}

export function readInitializer(config: ConfigReader, name: string, fallback: string): Initializer {
  return initializerOf(config.component(name, fallback), `${config.where}.${name}`);
}

/** What a weight is declared with besides its shape; spread into `LayerContext.weight`. */
export type DeclaredWeight = Pick<WeightSpec, "initializer">;

/** Reads `<variable>_initializer`, `<variable>_regularizer` and `<variable>_constraint`. */
export function readWeight(config: ConfigReader, variable: string, fallback: string): DeclaredWeight {
  config.unset(`${variable}_regularizer`);
  config.unset(`${variable}_constraint`);
  return { initializer: readInitializer(config, `${variable}_initializer`, fallback) };
}

/** Options Keras writes for every weighted layer that this layer cannot honour unless they are unset. */
export function refusePenalties(config: ConfigReader, ...variables: string[]): void {
  for (const variable of variables) {
    config.unset(`${variable}_regularizer`);
    config.unset(`${variable}_constraint`);
  }
  config.unset("activity_regularizer");
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
