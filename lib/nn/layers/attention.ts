/**
 * Attention and AdditiveAttention, Keras's layers without weights of projection: scores of [query, value] or
 * [query, value, key], softmax, weighted mean of the values. A mask that the value carries leaves keys out; queries
 * that the query's mask leaves out give 0.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { ConfigReader } from "../config-reader.ts";
import { initializerOf } from "../initializers.ts";
import {
  type ApplyLayer,
  inKerasOrder,
  type LayerContext,
  type LayerDefinition,
  type LayerValue,
  reshapeTo,
} from "../layer.ts";
import { attentionMask } from "./attention-mask.ts";
import { flag } from "./call-arguments.ts";
import { droppingElements } from "./dropout.ts";

export const ATTENTION_ARGUMENTS = ["use_causal_mask", "return_attention_scores"] as const;

/** [batch, T, S] from queries [batch, T, size] and keys [batch, S, size]. */
type Scores = (c: LayerContext, query: Value, key: Value) => Value;

/** Products of queries and keys, or with `score_mode: "concat"` sums of the tanh of theirs. */
export const attention: LayerDefinition = (config) => {
  const useScale = config.boolean("use_scale", false);
  const mode = config.choice("score_mode", ["dot", "concat"], "dot");
  return attending(config, (c, query, key) => {
    const g = c.graph;
    const scale = useScale ? scalarWeight(c, "scale") : undefined;
    if (mode === "dot") {
      const product = g.op("MatMul", [query, g.op("Transpose", [key], { perm: [0, 2, 1] })]);
      return scale ? g.op("Mul", [product, scale]) : product;
    }
    const weight = scalarWeight(c, "concat_score_weight");
    const sums = pairSums(g, query, key);
    const bent = g.op("Tanh", [scale ? g.op("Mul", [sums, scale]) : sums]);
    return g.op("Mul", [g.op("ReduceSum", [bent, g.ints([-1])], { keepdims: 0 }), weight]);
  });
};

/** Bahdanau, Cho and Bengio 2015 (arXiv:1409.0473): Σ scale·tanh(query + key). */
export const additiveAttention: LayerDefinition = (config) => {
  const useScale = config.boolean("use_scale", true);
  return attending(config, (c, query, key) => {
    const g = c.graph;
    const bent = g.op("Tanh", [pairSums(g, query, key)]);
    if (!useScale) return g.op("ReduceSum", [bent, g.ints([-1])], { keepdims: 0 });
    const size = query.shape[2] as number;
    const scale = c.weight({
      name: "scale",
      shape: [size],
      initializer: initializerOf({ class_name: "GlorotUniform", config: {} }, "scale"),
      fans: { fanIn: size, fanOut: size },
      trainable: true,
    });
    return g.op("ReduceSum", [g.op("Mul", [bent, scale]), g.ints([-1])], { keepdims: 0 });
  });
};

function attending(config: ConfigReader, scoresOf: Scores): ApplyLayer {
  const dropout = config.number("dropout", { fallback: 0, min: 0, below: 1 });
  config.ignore("seed");

  return (c, inputs, call) => {
    const g = c.graph;
    const [query, value, key] = sequences(g, inputs);
    const scores = scoresOf(c, query, key);
    const [queries, keys] = scores.shape.slice(1) as [number, number];
    const causal = flag(call, "use_causal_mask");
    const mask = attentionMask(g, { queries, keys, heads: 1, key: [inputs[1]!.mask], causal });
    const masked = mask
      ? g.op("Add", [scores, reshapeTo(g, mask.addend, withoutHeads(mask.addend))])
      : scores;
    const weights = droppingElements(dropout)(c, { value: g.op("Softmax", [masked], { axis: -1 }) }).value;
    const mean = g.op("MatMul", [weights, value]);
    const counted = inputs[0]!.mask;
    const output: LayerValue = counted
      ? { value: g.op("Mul", [mean, perStep(g, counted)]), mask: counted }
      : { value: mean };
    return flag(call, "return_attention_scores") ? [output, { value: weights }] : output;
  };
}

const withoutHeads = ({ shape: [batch, , queries, keys] }: Value) => [batch!, queries!, keys!];

function sequences(g: GraphBuilder, inputs: readonly LayerValue[]): [Value, Value, Value] {
  const [query, value, key = value] = inputs.map((x) => inKerasOrder(g, x));
  const known = inputs.every((x) => x.value.shape.slice(1).every((size) => typeof size === "number"));
  const fits =
    inputs.length >= 2 &&
    inputs.length <= 3 &&
    known &&
    inputs.every(({ value: { shape } }) => shape.length === 3) &&
    query!.shape[2] === key!.shape[2] &&
    value!.shape[1] === key!.shape[1];
  if (!fits)
    throw new InvalidModelError(
      "inputs",
      `received ${inputs.map((x) => `[${x.value.shape.join(",")}]`).join(", ")}, expected a query [batch,T,size], ` +
        "a value [batch,S,any] and, if it is another tensor, a key [batch,S,size]",
    );
  return [query!, value!, key!];
}

/** query + key for every pair: [batch, T, S, size]. */
function pairSums(g: GraphBuilder, query: Value, key: Value): Value {
  const [batch, queries, size] = query.shape as [number | string, number, number];
  const one = reshapeTo(g, query, [batch, queries, 1, size]);
  return g.op("Add", [one, reshapeTo(g, key, [batch, 1, key.shape[1]!, size])]);
}

function perStep(g: GraphBuilder, mask: Value): Value {
  const number = g.op("Cast", [mask], { to: ONNX_TYPE.FP32 });
  return reshapeTo(g, number, [mask.shape[0]!, mask.shape[1]!, 1]);
}

function scalarWeight(c: LayerContext, name: string): Value {
  return c.weight({
    name,
    shape: [],
    initializer: initializerOf({ class_name: "Ones", config: {} }, name),
    fans: { fanIn: 1, fanOut: 1 },
    trainable: true,
  });
}
