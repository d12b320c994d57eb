/** Operators that fold axes away. */

import type { Dim } from "../graph.ts";
import { type NodeView, type OutputSpec, product, type ShapeRule } from "./rule.ts";

function reduced(n: NodeView, axes: readonly number[], keep: boolean): Dim[] {
  const shape = n.input(0).shape;
  const folded = new Set(axes.map((axis) => n.axis(axis, shape.length)));
  return shape.flatMap((dim, axis) => (!folded.has(axis) ? [dim] : keep ? [1] : []));
}

/** Before opset 18 axes were an attribute, since then an input, except for ReduceSum (13). */
const reduce: ShapeRule = (n) => {
  const given = n.has(1) ? n.constant(1) : n.ints("axes");
  const axes = given ?? n.input(0).shape.map((_, axis) => axis);
  return [{ datatype: n.input(0).datatype, shape: reduced(n, axes, n.int("keepdims", 1) === 1) }];
};

const arg: ShapeRule = (n) => [
  { datatype: "INT64", shape: reduced(n, [n.int("axis", 0)], n.int("keepdims", 1) === 1) },
];

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
  SoftmaxCrossEntropyLoss: crossEntropy,
};
