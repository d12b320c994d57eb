/** Gradients of activation functions, written in terms of their outputs where that saves work. */

import type { GradientRule } from "../gradient-rule.ts";

/** Passes where the output is positive. */
const relu: GradientRule = (c) => [c.where(c.op("Greater", [c.output(), c.scalar(0)]), c.gradient())];

/** g·y·(1-y) */
const sigmoid: GradientRule = (c) => [c.mul(c.gradient(), c.mul(c.output(), c.sub(c.scalar(1), c.output())))];

/** g·(1-y²) */
const tanh: GradientRule = (c) => [c.mul(c.gradient(), c.sub(c.scalar(1), c.mul(c.output(), c.output())))];

const softplus: GradientRule = (c) => [c.mul(c.gradient(), c.op("Sigmoid", [c.input(0)]))];

/** y·(g - Σ g·y) along the axis. */
const softmax: GradientRule = (c) => {
  const axes = c.graph.ints([c.view.int("axis", -1)]);
  const inner = c.op("ReduceSum", [c.mul(c.gradient(), c.output()), axes], { keepdims: 1 });
  return [c.mul(c.output(), c.sub(c.gradient(), inner))];
};

/** g - softmax·Σ g along the axis. */
const logSoftmax: GradientRule = (c) => {
  const axes = c.graph.ints([c.view.int("axis", -1)]);
  const inner = c.op("ReduceSum", [c.gradient(), axes], { keepdims: 1 });
  return [c.sub(c.gradient(), c.mul(c.op("Exp", [c.output()]), inner))];
};

export const activation: Record<string, GradientRule> = {
  Relu: relu,
  Sigmoid: sigmoid,
  Tanh: tanh,
  Softplus: softplus,
  Softmax: softmax,
  LogSoftmax: logSoftmax,
};
