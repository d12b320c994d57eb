/** Operators that fold axes away. */

import type { Dim } from "../graph.ts";
import { type NodeView, type OutputSpec, product, type ShapeRule } from "./rule.ts";

/**
 * The axes a reduction folds, as given: input 1 since opset 18 (13 for ReduceSum), an attribute before. None named
 * means all, unless `noop_with_empty_axes` says none.
 */
export function reducedAxes(n: NodeView): number[] {
  const given = n.has(1) ? n.constant(1) : n.ints("axes");
  if (given !== undefined && given.length > 0) return given;
  return n.int("noop_with_empty_axes", 0) === 1 ? [] : n.input(0).shape.map((_, axis) => axis);
}

function reduced(n: NodeView, axes: readonly number[], keep: boolean): Dim[] {
  const shape = n.input(0).shape;
  const folded = new Set(axes.map((axis) => n.axis(axis, shape.length)));
  return shape.flatMap((dim, axis) => (!folded.has(axis) ? [dim] : keep ? [1] : []));
}

const reduce: ShapeRule = (n) => [
  { datatype: n.input(0).datatype, shape: reduced(n, reducedAxes(n), n.int("keepdims", 1) === 1) },
];

const arg: ShapeRule = (n) => [
  { datatype: "INT64", shape: reduced(n, [n.int("axis", 0)], n.int("keepdims", 1) === 1) },
];

/** The largest elements along an axis, and where they are. */
const topK: ShapeRule = (n) => {
  const { datatype, shape } = n.input(0);
  const axis = n.axis(n.int("axis", -1), shape.length);
  const k = n.constant(1)[0]!;
  const size = shape[axis]!;
  if (typeof size === "number" && k > size) n.fail(`${k} elements of ${size}`);
  const kept = shape.with(axis, k);
  return [
    { datatype, shape: kept },
    { datatype: "INT64", shape: [...kept] },
  ];
};

/** Outputs the loss (a scalar unless reduction is "none") and, on request, the log-probabilities. */
const crossEntropy: ShapeRule = (n) => {
  const [scores, labels] = [n.input(0), n.input(1)];
  const classesGone = scores.shape.filter((_, axis) => axis !== 1);
  const expected = product(classesGone);
  const received = product(labels.shape);
  if (expected.size !== received.size || expected.names.join() !== received.names.join())
    n.fail(`labels [${labels.shape.join(",")}] do not fit scores [${scores.shape.join(",")}]`);
  const loss: OutputSpec = {
    datatype: scores.datatype,
    shape: n.string("reduction", "mean") === "none" ? [...labels.shape] : [],
  };
  return [loss, { datatype: scores.datatype, shape: [...scores.shape] }].slice(0, n.outputCount);
};

export const reduction: Record<string, ShapeRule> = {
  ReduceSum: reduce,
  ReduceMean: reduce,
  ReduceMax: reduce,
  ReduceMin: reduce,
  ReduceProd: reduce,
  ReduceL2: reduce,
  ReduceSumSquare: reduce,
  ArgMax: arg,
  ArgMin: arg,
  TopK: topK,
  SoftmaxCrossEntropyLoss: crossEntropy,
};
