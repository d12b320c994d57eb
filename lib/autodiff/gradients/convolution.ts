/**
 * Gradients of two-dimensional convolution, X [N, C, H, W], W [F, C, KH, KW].
 *
 * Weights: one product of the output gradient with the im2col matrix; several times faster here than writing the same
 * sum as a convolution with a large kernel. Input: a transposed convolution with the same weights.
 */

import type { Value } from "../../onnx/builder.ts";
import { ImageViews } from "../../onnx/im2col.ts";
import { windowOf } from "../../onnx/operators/window.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const conv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (x.shape.length !== 4 || c.view.int("group", 1) !== 1)
    return c.view.fail("only ungrouped two-dimensional convolution is differentiated");
  return [
    c.wants(0) ? inputGradient(c, x, weight, g) : undefined,
    c.wants(1) ? weightGradient(c, x, weight, g) : undefined,
    c.wants(2) ? c.op("ReduceSum", [g, c.graph.ints([0, 2, 3])], { keepdims: 0 }) : undefined,
  ];
};

function inputGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  const kernel = c.known(weight.shape).slice(2);
  const strides = c.view.ints("strides") ?? [1, 1];
  const dilations = c.view.ints("dilations") ?? [1, 1];
  const pads = c.view.ints("pads") ?? [0, 0, 0, 0];
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
    ...(output_padding.some((extra) => extra !== 0) ? { output_padding } : {}),
  });
}

/** dW from X with its channels before the batch. */
function weightGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  const batch = c.known(g.shape)[0]!;
  const channelsFirst =
    weight.shape[1] === 1
      ? c.reshape(x, [1, batch, x.shape[2]!, x.shape[3]!])
      : c.op("Transpose", [x], { perm: [1, 0, 2, 3] });
  const out = c.known(g.shape).slice(2);
  const window = windowOf(c.view, c.known(weight.shape).slice(2));
  const columns = new ImageViews(c.graph, channelsFirst, window).columns(out);
  return fromColumns(c, c.op("Transpose", [g], { perm: [1, 0, 2, 3] }), columns, weight);
}

/** dW = G · columnsᵀ, with G [F, N, OH, OW]. */
function fromColumns(c: GradientContext, g: Value, columns: Value, weight: Value): Value {
  const rows = c.reshape(g, [g.shape[0]!, columns.shape[1]!]);
  return c.reshape(c.op("Gemm", [rows, columns], { transB: 1 }), weight.shape);
}

/** Convolution with the channels before the batch; its second output is the im2col matrix. */
const columnConv: GradientRule = (c) => {
  const [x, weight, g] = [c.input(0), c.input(1), c.gradient()];
  if (c.hasGradient(1)) return c.view.fail("its im2col matrix is not differentiated");
  const swap = (value: Value) => c.op("Transpose", [value], { perm: [1, 0, 2, 3] });
  const columns = c.graph.extraOutput(c.node, 1);
  const rows = c.reshape(g, [g.shape[0]!, columns.shape[1]!]);
  return [
    c.wants(0) ? swap(inputGradient(c, x, weight, swap(g))) : undefined,
    c.wants(1) ? fromColumns(c, g, columns, weight) : undefined,
    c.wants(2) ? c.op("ReduceSum", [rows, c.graph.ints([1])], { keepdims: 0 }) : undefined,
  ];
};

export const convolution: Record<string, GradientRule> = { Conv: conv, ColumnConv: columnConv };
