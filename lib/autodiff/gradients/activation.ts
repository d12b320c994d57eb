/** Gradients of activation functions, written in terms of their outputs where that saves work. */

import { float } from "../../onnx/graph.ts";
import type { GradientRule } from "../gradient-rule.ts";

/** Passes where the output is positive: 1 for every normal number above 0, in one pass instead of two. */
const relu: GradientRule = (c) => {
  const steep = { alpha: float(2 ** 127), beta: float(0) };
  return [c.mul(c.gradient(), c.op("HardSigmoid", [c.output()], steep))];
};

/** g·y·(1-y) */
const sigmoid: GradientRule = (c) => [c.mul(c.gradient(), c.mul(c.output(), c.sub(c.scalar(1), c.output())))];

/** g·(1-y²) */
const tanh: GradientRule = (c) => [c.mul(c.gradient(), c.sub(c.scalar(1), c.mul(c.output(), c.output())))];

const softplus: GradientRule = (c) => [c.mul(c.gradient(), c.op("Sigmoid", [c.input(0)]))];

/** g·(alpha + (1 - alpha)·[x > 0]): products, because ONNX Runtime's Where takes longer. */
const leakyRelu: GradientRule = (c) => {
  const alpha = c.view.float("alpha", 0.01);
  const above = c.where(c.op("Greater", [c.input(0), c.scalar(0)]), c.scalar(1 - alpha));
  return [c.mul(c.gradient(), c.add(above, c.scalar(alpha)))];
};

/** dx = g above 0, else g·slope; dslope = g·x below 0. */
const pRelu: GradientRule = (c) => {
  const [x, slope] = [c.input(0), c.input(1)];
  const zero = c.scalar(0);
  const positive = c.op("Greater", [x, zero]);
  const scaled = c.wants(0) ? c.mul(c.gradient(), slope) : undefined;
  return [
    scaled && c.op("Where", [positive, c.gradient(), scaled]),
    c.wants(1) ? c.unbroadcast(c.mul(c.gradient(), c.op("Min", [x, zero])), slope) : undefined,
  ];
};

/** Below 0 the slope is alpha·eˣ = y + alpha; with alpha 1 that is the lesser of y + 1 and 1 everywhere. */
const elu: GradientRule = (c) => {
  const alpha = c.scalar(c.view.float("alpha", 1));
  const slope = c.add(c.output(), alpha);
  if (c.view.float("alpha", 1) === 1) return [c.mul(c.gradient(), c.op("Min", [slope, alpha]))];
  const below = c.mul(c.gradient(), slope);
  return [c.op("Where", [c.op("Greater", [c.input(0), c.scalar(0)]), c.gradient(), below])];
};

/** gamma above 0, else y + gamma·alpha. */
const selu: GradientRule = (c) => {
  const gamma = c.view.float("gamma", 1.0507009873554805);
  const alpha = c.view.float("alpha", 1.6732632423543772);
  const below = c.add(c.output(), c.scalar(gamma * alpha));
  const slope = c.op("Where", [c.op("Greater", [c.input(0), c.scalar(0)]), c.scalar(gamma), below]);
  return [c.mul(c.gradient(), slope)];
};

/** g·(1 - |y|)², for y = x/(1 + |x|). */
const softsign: GradientRule = (c) => {
  const rest = c.sub(c.scalar(1), c.op("Abs", [c.output()]));
  return [c.mul(c.gradient(), c.mul(rest, rest))];
};

/** g·2/√π·e^(-x²), with the factor in the exponent: one pass less over the tensor. */
const erf: GradientRule = (c) => {
  const squares = c.mul(c.input(0), c.input(0));
  const bell = c.op("Exp", [c.sub(c.scalar(Math.log(2 / Math.sqrt(Math.PI))), squares)]);
  return [c.mul(c.gradient(), bell)];
};

/** Passes between the bounds. */
const clip: GradientRule = (c) => {
  const least = c.has(1) ? c.op("Greater", [c.output(), c.input(1)]) : undefined;
  const most = c.has(2) ? c.op("Less", [c.output(), c.input(2)]) : undefined;
  const inside = least && most ? c.op("And", [least, most]) : (least ?? most);
  return [inside ? c.where(inside, c.gradient()) : c.gradient()];
};

/** alpha between 0 and 1. */
const hardSigmoid: GradientRule = (c) => {
  const inside = c.op("And", [
    c.op("Greater", [c.output(), c.scalar(0)]),
    c.op("Less", [c.output(), c.scalar(1)]),
  ]);
  return [c.where(inside, c.mul(c.gradient(), c.scalar(c.view.float("alpha", 0.2))))];
};

export const activation: Record<string, GradientRule> = {
  Relu: relu,
  LeakyRelu: leakyRelu,
  PRelu: pRelu,
  Elu: elu,
  Selu: selu,
  Softsign: softsign,
  Erf: erf,
  Clip: clip,
  HardSigmoid: hardSigmoid,
  Sigmoid: sigmoid,
  Tanh: tanh,
  Softplus: softplus,
};
