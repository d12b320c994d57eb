/**
 * Gradients of two-dimensional convolution, X [N, C, H, W], W [F, C/group, KH, KW], of its form with the channels
 * before the batch (ColumnConv), and of transposed convolution.
 *
 * Weights: one product of the output gradient with the im2col matrix, a batch of products for groups; several times
 * faster here than writing the same sum as a convolution with a large kernel. Of a depthwise convolution there is one
 * short product per channel, and the large kernel wins. Input: a transposed convolution with the same weights.
 */

import type { Value } from "../../onnx/builder.ts";
import { ImageViews } from "../../onnx/im2col.ts";
import { windowOf } from "../../onnx/operators/window.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const conv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (x.shape.length !== 4) return c.view.fail("only two-dimensional convolution is differentiated");
  return [
    c.wants(0) ? inputGradient(c, x, weight, g) : undefined,
    c.wants(1) ? weightGradient(c, swap(c, x), weight, swap(c, g)) : undefined,
    c.wants(2) ? c.op("ReduceSum", [g, c.graph.ints([0, 2, 3])], { keepdims: 0 }) : undefined,
  ];
};

/** Convolution with the channels before the batch; its second output is the im2col matrix. */
const columnConv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (c.hasGradient(1)) return c.view.fail("its im2col matrix is not differentiated");
  const rows = c.reshape(g, [g.shape[0]!, c.known(g.shape.slice(1)).reduce((a, b) => a * b, 1)]);
  const columns = c.wants(1) && !isDepthwise(c, weight) ? c.graph.extraOutput(c.node, 1) : undefined;
  return [
    !c.wants(0)
      ? undefined
      : (planeGradient(c, weight, g) ?? swap(c, inputGradient(c, swap(c, x), weight, swap(c, g)))),
    c.wants(1) ? weightGradient(c, x, weight, g, columns) : undefined,
    c.wants(2) ? c.op("ReduceSum", [rows, c.graph.ints([1])], { keepdims: 0 }) : undefined,
  ];
};

/** Y = the input gradient of a convolution with W [C, F/group, KH, KW]: its gradients are that convolution's parts. */
const convTranspose: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (x.shape.length !== 4) return c.view.fail("only two-dimensional convolution is differentiated");
  const { output_padding: _, ...attributes } = c.node.attributes;
  const [dx, columns] = c.graph.ops("ColumnConv", [swap(c, g), weight], 2, attributes) as [Value, Value];
  if (dx.shape.slice(2).join() !== x.shape.slice(2).join())
    return c.view.fail("output_padding must be less than the strides");
  return [
    c.wants(0) ? swap(c, dx) : undefined,
    c.wants(1) ? fromColumns(c, swap(c, x), columns, weight) : undefined,
    c.wants(2) ? c.op("ReduceSum", [g, c.graph.ints([0, 2, 3])], { keepdims: 0 }) : undefined,
  ];
};

/** [N, C, H, W] <-> [C, N, H, W]; a reshape where one of both is 1. */
function swap(c: GradientContext, value: Value): Value {
  const [a, b, ...size] = value.shape;
  if (a === 1 || b === 1) return c.reshape(value, [b!, a!, ...size]);
  return c.op("Transpose", [value], { perm: [1, 0, 2, 3] });
}

function isDepthwise(c: GradientContext, weight: Value): boolean {
  return c.view.int("group", 1) > 1 && weight.shape[1] === 1;
}

function inputGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  const kernel = c.known(weight.shape).slice(2);
  const { strides, dilations, pads } = windowOf(c.view, kernel);
  const group = c.view.int("group", 1);
  const out = c.known(g.shape).slice(2);
  const output_padding = c
    .known(x.shape)
    .slice(2)
    .map(
      (size, i) =>
        size - (strides[i]! * (out[i]! - 1) + dilations[i]! * (kernel[i]! - 1) + 1 - pads[i]! - pads[i + 2]!),
    );
  return c.op("ConvTranspose", [g, weight], {
    kernel_shape: kernel,
    strides,
    dilations,
    pads,
    ...(group === 1 ? {} : { group }),
    ...(output_padding.some((extra) => extra !== 0) ? { output_padding } : {}),
  });
}

/**
 * dX of a depthwise convolution with one filter for each channel and strides of 1: the same with the kernel turned
 * about, three times as fast as transposed convolution. Undefined for others.
 */
function planeGradient(c: GradientContext, weight: Value, g: Value): Value | undefined {
  const kernel = c.known(weight.shape).slice(2);
  const { strides, dilations, pads } = windowOf(c.view, kernel);
  const group = c.view.int("group", 1);
  if (!isDepthwise(c, weight) || weight.shape[0] !== group || strides.some((s) => s !== 1)) return undefined;
  const turnedPads = pads.map((pad, i) => dilations[i % 2]! * (kernel[i % 2]! - 1) - pad);
  if (turnedPads.some((pad) => pad < 0)) return undefined;
  const { graph } = c;
  const [starts, ends] = [graph.ints([-1, -1]), graph.ints(kernel.map((size) => -size - 1))];
  const turned = c.op("Slice", [weight, starts, ends, graph.ints([2, 3]), graph.ints([-1, -1])]);
  return c.op("ColumnConv", [g, turned], { kernel_shape: kernel, dilations, pads: turnedPads, group });
}

/** dW from X [C, N, H, W] and G [F, N, OH, OW]. */
function weightGradient(c: GradientContext, x: Value, weight: Value, g: Value, columns?: Value): Value {
  const window = windowOf(c.view, c.known(weight.shape).slice(2));
  const out = c.known(g.shape).slice(2);
  if (!isDepthwise(c, weight))
    return fromColumns(c, g, columns ?? new ImageViews(c.graph, x, window).columns(out), weight);
  const [channels, batch, ...size] = c.known(x.shape);
  const found = c.op("Conv", [c.reshape(x, [1, channels! * batch!, ...size]), g], {
    kernel_shape: out,
    strides: window.dilations,
    dilations: window.strides,
    pads: window.pads,
    group: channels!,
  });
  // Rows and columns that the strides leave over give places beyond the kernel.
  const { kernel } = window;
  const cut = found.shape.slice(2).join() === kernel.join();
  const bounds = [c.graph.ints([0, 0]), c.graph.ints(kernel), c.graph.ints([2, 3])];
  return c.reshape(cut ? found : c.op("Slice", [found, ...bounds]), weight.shape);
}

/** dW = G · columnsᵀ, with G [F, N, OH, OW]; by groups of rows. */
function fromColumns(c: GradientContext, g: Value, columns: Value, weight: Value): Value {
  const group = c.view.int("group", 1);
  const [filters, positions] = [c.known(g.shape)[0]!, columns.shape[1]!];
  if (group === 1) {
    const rows = c.reshape(g, [filters, positions]);
    return c.reshape(c.op("Gemm", [rows, columns], { transB: 1 }), weight.shape);
  }
  const rows = c.reshape(g, [group, filters / group, positions]);
  const blocks = c.reshape(columns, [group, c.known(columns.shape)[0]! / group, positions]);
  const turned = c.op("Transpose", [blocks], { perm: [0, 2, 1] });
  return c.reshape(c.op("MatMul", [rows, turned]), weight.shape);
}

export const convolution: Record<string, GradientRule> = {
  Conv: conv,
  ColumnConv: columnConv,
  ConvTranspose: convTranspose,
};
