/**
 * The im2col matrix of a convolution, out of plain ONNX operators: one shifted view of the input per kernel position,
 * stacked so that the convolution, and the gradient of its weights, are each one matrix product.
 */

import type { GraphBuilder, Value } from "./builder.ts";

export type WindowGeometry = {
  kernel: readonly number[];
  strides: readonly number[];
  dilations: readonly number[];
  /** [top, left, bottom, right] */
  pads: readonly number[];
};

/** `x` [C, N, H, W] as columns [C·KH·KW, N·OH·OW] for an output of `out` = [OH, OW]; every size known. */
export function imageToColumns(
  graph: GraphBuilder,
  x: Value,
  window: WindowGeometry,
  out: readonly number[],
): Value {
  const { kernel, strides, dilations, pads } = window;
  const padded = pads.some((pad) => pad !== 0)
    ? graph.op("Pad", [x, graph.ints([0, 0, pads[0]!, pads[1]!, 0, 0, pads[2]!, pads[3]!]), graph.scalar(0)])
    : x;
  const axes = graph.ints([2, 3]);
  const steps = strides.every((stride) => stride === 1) ? undefined : graph.ints(strides);
  const views: Value[] = [];
  for (let i = 0; i < kernel[0]!; i++)
    for (let j = 0; j < kernel[1]!; j++) {
      const starts = [i * dilations[0]!, j * dilations[1]!];
      const ends = starts.map((start, axis) => start + (out[axis]! - 1) * strides[axis]! + 1);
      views.push(graph.op("Slice", [padded, graph.ints(starts), graph.ints(ends), axes, steps]));
    }
  // Joined along the batch axis: per channel, its views one after another.
  const stacked = views.length === 1 ? views[0]! : graph.op("Concat", views, { axis: 1 });
  const [channels, batch] = x.shape as [number, number];
  const rows = channels * views.length;
  return graph.op("Reshape", [stacked, graph.ints([rows, batch * out[0]! * out[1]!])]);
}
