/**
 * MultiHeadAttention, as Keras 3 declares and computes it: applied to (query, value) or (query, value, key), by
 * position or by name, with the masks those carry or the call gives. Attention along the steps of
 * [batch, steps, size] alone; `attention_axes` that say otherwise are refused.
 */

import { InvalidModelError } from "../../errors.ts";
import type { ConfigReader } from "../config-reader.ts";
import { type CallArguments, inKerasOrder, type LayerDefinition, type LayerValue } from "../layer.ts";
import { attendInHeads } from "./attention-heads.ts";
import { flag, named } from "./call-arguments.ts";
import { readWeight, refusePenalties } from "./common.ts";

export const multiHeadAttention: LayerDefinition = (config) => {
  const heads = config.integer("num_heads", {});
  const keySize = config.integer("key_dim", {});
  const options = {
    heads,
    keySize,
    valueSize: config.integer("value_dim", { fallback: keySize }),
    dropout: config.number("dropout", { fallback: 0, min: 0, below: 1 }),
    bias: config.boolean("use_bias", true),
    gate: config.boolean("use_gate", false),
    outputShape: readOutputShape(config),
    window: config.raw("sliding_window") === undefined ? undefined : config.integer("sliding_window", {}),
    kernel: readWeight(config, "kernel", "GlorotUniform"),
    biasWeight: readWeight(config, "bias", "Zeros"),
  };
  readAttentionAxes(config);
  refusePenalties(config);
  // Keras penalises what is projected inside, not what the layer gives.
  config.unset("activity_regularizer");
  // How it is computed, and a seed where a run has one for all.
  config.ignore("flash_attention", "seed", "query_shape", "key_shape", "value_shape");

  return (c, inputs, call) => {
    const [query, value, key] = readInputs(inputs, call);
    const carried = [
      query.mask,
      named(call, "value_mask") ?? value.mask,
      named(call, "key_mask") ?? key?.mask,
    ];
    const withScores = flag(call, "return_attention_scores");
    const values = inKerasOrder(c.graph, value);
    const result = attendInHeads(
      c,
      options,
      {
        query: inKerasOrder(c.graph, query),
        value: values,
        key: key ? inKerasOrder(c.graph, key) : values,
        masks: {
          query: carried[0],
          key: [...new Set(carried.slice(1))],
          attention: named(call, "attention_mask"),
          causal: flag(call, "use_causal_mask"),
        },
      },
      withScores,
    );
    const output = query.mask ? { value: result.value, mask: query.mask } : { value: result.value };
    return result.scores ? [output, { value: result.scores }] : output;
  };
};

/** The arguments besides its inputs that the layer may be called with. */
export const MULTI_HEAD_ARGUMENTS = [
  "query",
  "value",
  "key",
  "query_mask",
  "value_mask",
  "key_mask",
  "attention_mask",
  "use_causal_mask",
  "return_attention_scores",
] as const;

/** Query, value and key, by position or by name. */
function readInputs(
  inputs: readonly LayerValue[],
  { tensors }: CallArguments,
): [LayerValue, LayerValue, LayerValue | undefined] {
  const given = ["query", "value", "key"].map((name, i) => inputs[i] ?? tensors.get(name)?.[0]);
  const [query, value, key] = given;
  if (inputs.length > 3 || !query || !value)
    throw new InvalidModelError(
      "inputs",
      `received ${inputs.length}, expected a query, a value and, if it is another tensor, a key`,
    );
  // Keras reads this argument over: a query's mask is the one it carries.
  const mask = tensors.get("query_mask");
  if (mask)
    throw new InvalidModelError("argument 'query_mask'", "it has no effect in Keras and is not supported");
  for (const tensor of [query, value, key])
    if (tensor && tensor.value.datatype !== "FP32")
      throw new InvalidModelError("inputs", `received ${tensor.value.datatype}, expected FP32`);
  return [query, value, key];
}

function readOutputShape(config: ConfigReader): number[] | undefined {
  const given = config.raw("output_shape");
  const shape = typeof given === "number" ? [given] : given;
  if (shape === undefined || (Array.isArray(shape) && shape.length === 0)) return undefined;
  if (Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && size > 0)) return shape;
  return config.refuse("output_shape", given, "a positive integer or a list of them");
}

/** Of [batch, steps, size], written by Keras once the layer is built. */
function readAttentionAxes(config: ConfigReader): void {
  const given = config.raw("attention_axes");
  const axes: unknown = typeof given === "number" ? [given] : (given ?? [1]);
  if (!Array.isArray(axes) || axes.length !== 1 || (axes[0] !== 1 && axes[0] !== -2))
    config.refuse("attention_axes", given, "null or the axis of the steps, 1");
}
