/**
 * Gradients of two-dimensional convolution, X [N, C, H, W], W [F, C, KH, KW].
 *
 * Weights: the padded input, channels first ([C, N, H, W]), is cut into one shifted view per kernel position;
 * stacked they are the im2col matrix [KH·KW·C, N·OH·OW], and one matrix product with the output gradient gives
 * dW. Several times faster here than writing the same sum as a convolution with a large kernel.
 * Input: a transposed convolution with the same weights.
 */

import type { Value } from "../../onnx/builder.ts";
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

function weightGradient(c: GradientContext, x: Value, weight: Value, g: Value): Value {
  const [filters, depth, kh, kw] = c.known(weight.shape) as [number, number, number, number];
  const [batch, , oh, ow] = c.known(g.shape) as [number, number, number, number];
  const [sh, sw] = (c.view.ints("strides") ?? [1, 1]) as [number, number];
  const [dh, dw] = (c.view.ints("dilations") ?? [1, 1]) as [number, number];
  const pads = c.view.ints("pads") ?? [0, 0, 0, 0];
  const padded = pads.some((pad) => pad !== 0)
    ? c.op("Pad", [x, c.graph.ints([0, 0, pads[0]!, pads[1]!, 0, 0, pads[2]!, pads[3]!]), c.scalar(0)])
    : x;
  const channelsFirst =
    depth === 1
      ? c.reshape(padded, [1, batch, padded.shape[2]!, padded.shape[3]!])
      : c.op("Transpose", [padded], { perm: [1, 0, 2, 3] });
  const axes = c.graph.ints([2, 3]);
  const steps = sh === 1 && sw === 1 ? undefined : c.graph.ints([sh, sw]);
  const views: Value[] = [];
  for (let i = 0; i < kh; i++)
    for (let j = 0; j < kw; j++) {
      const starts = c.graph.ints([i * dh, j * dw]);
      const ends = c.graph.ints([i * dh + (oh - 1) * sh + 1, j * dw + (ow - 1) * sw + 1]);
      views.push(c.op("Slice", [channelsFirst, starts, ends, axes, steps]));
    }
  const columns = c.reshape(views.length === 1 ? views[0]! : c.op("Concat", views, { axis: 0 }), [
    kh * kw * depth,
    batch * oh * ow,
  ]);
  const gradientRows = c.reshape(c.op("Transpose", [g], { perm: [1, 0, 2, 3] }), [filters, batch * oh * ow]);
  const flat = c.op("Gemm", [gradientRows, columns], { transB: 1 });
  const stacked = c.reshape(flat, [filters, kh, kw, depth]);
  return c.op("Transpose", [stacked], { perm: [0, 3, 1, 2] });
}

export const convolution: Record<string, GradientRule> = { Conv: conv };
