/**
 * Scaled dot-product attention of several heads (Vaswani et al. 2017, arXiv:1706.03762) with its projections, as
 * Keras's MultiHeadAttention computes it: what that layer and the Transformer blocks are made of.
 *
 * A query that may attend to nothing gives the mean of all values, or 0 where Keras computes the scores itself (with
 * dropout, or when they are asked for): so it is in Keras. Its scores have no gradient.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import { type LayerContext, reshapeTo } from "../layer.ts";
import { affine } from "./affine.ts";
import { type AttentionMaskParts, attentionMask } from "./attention-mask.ts";
import type { DeclaredWeight } from "./common.ts";
import { droppingElements } from "./dropout.ts";

export type HeadOptions = {
  heads: number;
  /** Size of a query and a key of one head. */
  keySize: number;
  /** Size of a value of one head. */
  valueSize: number;
  /** Rate at which attention is dropped. */
  dropout: number;
  bias: boolean;
  /** Whether the result of each head is multiplied by a gate computed from the query. */
  gate: boolean;
  /** Sizes of the result after the steps; those of the query where undefined. */
  outputShape?: readonly number[] | undefined;
  window?: number | undefined;
  kernel: DeclaredWeight;
  biasWeight: DeclaredWeight;
};

/** Tensors [batch, T, size], [batch, S, size] and [batch, S, size], and what masks them. */
export type Attended = {
  query: Value;
  key: Value;
  value: Value;
  masks: Pick<AttentionMaskParts, "query" | "key" | "attention" | "causal">;
};

/** The result [batch, T, ...outputShape], and the scores [batch, heads, T, S] when asked for. */
export function attendInHeads(
  c: LayerContext,
  options: HeadOptions,
  { query, key, value, masks }: Attended,
  withScores = false,
): { value: Value; scores?: Value } {
  const g = c.graph;
  const { heads, keySize, valueSize, window, dropout } = options;
  const [queries] = sequence(query, "query");
  const [keys] = sequence(key, "key");
  if (sequence(value, "value")[0] !== keys)
    throw new InvalidModelError("inputs", `received ${keys} keys for ${value.shape[1]} values`);

  const q = g.op("Mul", [toHeads(c, options, "query", query, keySize), g.scalar(1 / Math.sqrt(keySize))]);
  const k = toHeads(c, options, "key", key, keySize);
  const gate = options.gate ? g.op("Sigmoid", [toHeads(c, options, "gate", query, valueSize)]) : undefined;
  const v = toHeads(c, options, "value", value, valueSize);

  const mask = attentionMask(g, { ...masks, queries, keys, heads, window });
  const scored = mask?.open ? g.op("Mul", [q, mask.open]) : q;
  const product = g.op("MatMul", [scored, g.op("Transpose", [k], { perm: [0, 1, 3, 2] })]);
  const scores = g.op("Softmax", [mask ? g.op("Add", [product, mask.addend]) : product], { axis: -1 });

  const closed = (x: Value) => (mask?.open ? g.op("Mul", [x, mask.open]) : x);
  const zeroed = dropout > 0 || withScores;
  const kept = droppingElements(dropout)(c, { value: scores }).value;
  const attended = g.op("MatMul", [kept, v]);
  const weighed = zeroed ? closed(attended) : attended;
  const result = fromHeads(c, options, gate ? g.op("Mul", [weighed, gate]) : weighed, query.shape);
  return withScores ? { value: result, scores: closed(scores) } : { value: result };
}

/** Steps and size. */
function sequence({ shape }: Value, what: string): [number, number] {
  const [, steps, size] = shape;
  if (shape.length !== 3 || typeof steps !== "number" || typeof size !== "number")
    throw new InvalidModelError(what, `received [${shape.join(",")}], expected [batch,steps,size]`);
  return [steps, size];
}

/** Projects [batch, steps, size] for every head: [batch, heads, steps, each]. */
function toHeads(c: LayerContext, options: HeadOptions, name: string, x: Value, each: number): Value {
  const [steps, size] = sequence(x, name);
  const { heads } = options;
  const kernel = c.weight({
    name: `${name}/kernel`,
    shape: [size, heads, each],
    ...options.kernel,
    // Keras takes all but the last two axes of a kernel for its window.
    fans: { fanIn: size * heads, fanOut: size * each },
    trainable: true,
  });
  const bias = options.bias
    ? c.weight({
        name: `${name}/bias`,
        shape: [heads, each],
        ...options.biasWeight,
        fans: { fanIn: heads, fanOut: each },
        trainable: true,
      })
    : undefined;
  const g = c.graph;
  const rows = affine(
    g,
    x,
    reshapeTo(g, kernel, [size, heads * each]),
    bias && reshapeTo(g, bias, [heads * each]),
  );
  const apart = reshapeTo(g, rows, [x.shape[0]!, steps, heads, each]);
  return g.op("Transpose", [apart], { perm: [0, 2, 1, 3] });
}

/** Joins the heads' results [batch, heads, T, each] and projects them. */
function fromHeads(c: LayerContext, options: HeadOptions, x: Value, query: readonly Dim[]): Value {
  const g = c.graph;
  const { heads, valueSize } = options;
  const [batch, steps, size] = query as [Dim, number, number];
  const shape = options.outputShape ?? [size];
  const units = shape.reduce((product, each) => product * each, 1);
  const kernelShape = [heads, valueSize, ...shape];
  const kernel = c.weight({
    name: "attention_output/kernel",
    shape: kernelShape,
    ...options.kernel,
    fans: fansOf(kernelShape),
    trainable: true,
  });
  const bias = options.bias
    ? c.weight({
        name: "attention_output/bias",
        shape: [...shape],
        ...options.biasWeight,
        fans: fansOf(shape),
        trainable: true,
      })
    : undefined;
  const joined = reshapeTo(g, g.op("Transpose", [x], { perm: [0, 2, 1, 3] }), [
    batch,
    steps,
    heads * valueSize,
  ]);
  const rows = affine(
    g,
    joined,
    reshapeTo(g, kernel, [heads * valueSize, units]),
    bias && reshapeTo(g, bias, [units]),
  );
  return shape.length === 1 ? rows : reshapeTo(g, rows, [batch, steps, ...shape]);
}

/** As Keras reckons them: the last two axes are inputs and outputs, those before them a window. */
function fansOf(shape: readonly number[]): { fanIn: number; fanOut: number } {
  const window = shape.slice(0, -2).reduce((product, size) => product * size, 1);
  const outputs = shape.at(-1) ?? 1;
  return { fanIn: (shape.at(-2) ?? outputs) * window, fanOut: outputs * window };
}
