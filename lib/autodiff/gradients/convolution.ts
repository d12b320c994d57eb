/**
 * Gradients of two-dimensional convolution, X [N, C, H, W], W [F, C/group, KH, KW], of its form with the channels
 * before the batch (ColumnConv), and of transposed convolution. How they are computed, the lowering of ColumnConv and
 * its two gradients decides (lib/onnx/passes/lower-column-conv.ts).
 */

import type { Value } from "../../onnx/builder.ts";
import { windowOf } from "../../onnx/operators/window.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const conv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (x.shape.length !== 4) return c.view.fail("only two-dimensional convolution is differentiated");
  return [
    c.wants(0) ? swap(c, imageGradient(c, swap(c, x), weight, swap(c, g))) : undefined,
    c.wants(1) ? kernelGradient(c, swap(c, x), weight, swap(c, g)) : undefined,
    c.wants(2) ? c.op("ReduceSum", [g, c.graph.ints([0, 2, 3])], { keepdims: 0 }) : undefined,
  ];
};

const columnConv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  const rows = c.reshape(g, [g.shape[0]!, c.known(g.shape.slice(1)).reduce((a, b) => a * b, 1)]);
  return [
    c.wants(0) ? imageGradient(c, x, weight, g) : undefined,
    c.wants(1) ? kernelGradient(c, x, weight, g) : undefined,
    c.wants(2) ? c.op("ReduceSum", [rows, c.graph.ints([1])], { keepdims: 0 }) : undefined,
  ];
};

/** Y = the image gradient of a convolution with W [C, F/group, KH, KW]: its gradients are that convolution's parts. */
const convTranspose: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (x.shape.length !== 4) return c.view.fail("only two-dimensional convolution is differentiated");
  const { output_padding: _, ...attributes } = c.node.attributes;
  const gradient = swap(c, g);
  const dx = c.wants(0) ? c.op("ColumnConv", [gradient, weight], attributes) : undefined;
  if (dx && dx.shape.slice(2).join() !== x.shape.slice(2).join())
    return c.view.fail("output_padding must be less than the strides");
  return [
    dx && swap(c, dx),
    c.wants(1) ? kernelGradient(c, gradient, weight, swap(c, x)) : undefined,
    c.wants(2) ? c.op("ReduceSum", [g, c.graph.ints([0, 2, 3])], { keepdims: 0 }) : undefined,
  ];
};

/** [N, C, H, W] <-> [C, N, H, W]; a reshape where one of both is 1. */
function swap(c: GradientContext, value: Value): Value {
  const [a, b, ...size] = value.shape;
  if (a === 1 || b === 1) return c.reshape(value, [b!, a!, ...size]);
  return c.op("Transpose", [value], { perm: [1, 0, 2, 3] });
}

function attributesOf(c: GradientContext, weight: Value) {
  const { kernel, strides, dilations, pads } = windowOf(c.view, c.known(weight.shape).slice(2));
  return { kernel_shape: kernel, strides, dilations, pads, group: c.view.int("group", 1) };
}

/** From the gradient [F, N, OH, OW]. */
function imageGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  const image = c.known(x.shape).slice(2);
  return c.op("ColumnConvImage", [g, weight], { ...attributesOf(c, weight), image });
}

/** From X [C, N, H, W] and the gradient [F, N, OH, OW]. */
function kernelGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  return c.op("ColumnConvKernel", [x, g], attributesOf(c, weight));
}

export const convolution: Record<string, GradientRule> = {
  Conv: conv,
  ColumnConv: columnConv,
  ConvTranspose: convTranspose,
};
