/** Gradients of reductions and of the fused cross-entropy. */

import type { Value } from "../../onnx/builder.ts";
import { reducedAxes } from "../../onnx/operators/reduction.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

/** The gradient of a reduction with the folded axes back as 1, those axes, and how many elements were folded. */
function spread(c: GradientContext): { gradient: Value; axes: number[]; folded: number } {
  const x = c.input(0);
  const rank = x.shape.length;
  const axes = reducedAxes(c.view).map((axis) => c.view.axis(axis, rank));
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
  const folded = c.known(axes.map((axis) => x.shape[axis]!)).reduce((a, b) => a * b, 1);
  return { gradient: c.reshape(c.gradient(), kept), axes, folded };
}

const reduceSum: GradientRule = (c) => [
  c.op("Expand", [spread(c).gradient, c.graph.ints(c.known(c.input(0).shape))]),
];

const reduceMean: GradientRule = (c) => {
  const { gradient, folded } = spread(c);
  const scaled = c.mul(gradient, c.scalar(1 / folded));
  return [c.op("Expand", [scaled, c.graph.ints(c.known(c.input(0).shape))])];
};

/** To the largest elements; equal ones share. */
const reduceMax: GradientRule = (c) => {
  const x = c.input(0);
  const { gradient, axes } = spread(c);
  if (axes.length === 0) return [gradient];
  const largest = c.reshape(c.output(), gradient.shape);
  const holds = c.op("Cast", [c.op("Equal", [x, largest])], { to: ONNX_TYPE.FP32 });
  const count = c.op("ReduceSum", [holds, c.graph.ints(axes)], { keepdims: 1 });
  return [c.mul(holds, c.div(gradient, count))];
};

/**
 * Loss over [N, C] scores and [N] integer labels: (softmax - onehot)·g, divided by N for the mean. The
 * log-probabilities come from the node's own second output.
 */
const crossEntropy: GradientRule = (c) => {
  const [scores, labels] = [c.input(0), c.input(1)];
  if (scores.shape.length !== 2 || c.has(2) || c.node.attributes.ignore_index !== undefined)
    return c.view.fail("only [batch, classes] without weights or ignore_index is differentiated");
  if (c.hasGradient(1)) return c.view.fail("the log-probabilities output is not differentiated");
  const reduction = c.view.string("reduction", "mean");
  const [rows, classes] = c.known(scores.shape) as [number, number];
  const logProbabilities = c.graph.extraOutput(c.node, 1);
  const values = c.graph.constant("off_on", {
    datatype: "FP32",
    shape: [2],
    data: Float32Array.of(0, 1),
  });
  const target = c.op("OneHot", [labels, c.graph.ints([classes]), values], { axis: 1 });
  const difference = c.sub(c.op("Exp", [logProbabilities]), target);
  if (reduction === "mean") return [c.mul(difference, c.mul(c.gradient(), c.scalar(1 / rows)))];
  const gradient = reduction === "none" ? c.reshape(c.gradient(), [rows, 1]) : c.gradient();
  return [c.mul(difference, gradient)];
};

export const reduction: Record<string, GradientRule> = {
  ReduceSum: reduceSum,
  ReduceMean: reduceMean,
  ReduceMax: reduceMax,
  SoftmaxCrossEntropyLoss: crossEntropy,
};
