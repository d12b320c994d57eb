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

/** The views of one image [C, N, H, W], padded; those that several matrices need are cut once. */
export class ImageViews {
  private readonly graph: GraphBuilder;
  private readonly image: Value;
  private readonly window: WindowGeometry;
  private readonly cut = new Map<string, Value>();

  constructor(graph: GraphBuilder, image: Value, window: WindowGeometry) {
    const { pads } = window;
    this.graph = graph;
    this.window = window;
    this.image = pads.some((pad) => pad !== 0)
      ? graph.op("Pad", [
          image,
          graph.ints([0, 0, pads[0]!, pads[1]!, 0, 0, pads[2]!, pads[3]!]),
          graph.scalar(0),
        ])
      : image;
  }

  /**
   * Columns [C·KH·KW, N·OH·OW] for an output of `out` = [OH, OW]: every `every`-th place of the window, from the
   * place `first` on. Every size known.
   */
  columns(out: readonly number[], first: readonly number[] = [0, 0], every = 1): Value {
    const { kernel, strides, dilations } = this.window;
    const steps = strides.map((stride) => stride * every);
    const views: Value[] = [];
    for (let i = 0; i < kernel[0]!; i++)
      for (let j = 0; j < kernel[1]!; j++) {
        const starts = [i, j].map((at, axis) => first[axis]! * strides[axis]! + at * dilations[axis]!);
        views.push(this.view(starts, steps, out));
      }
    // Joined along the batch axis: per channel, its views one after another.
    const stacked = views.length === 1 ? views[0]! : this.graph.op("Concat", views, { axis: 1 });
    const [channels, batch] = this.image.shape as [number, number];
    const rows = channels * views.length;
    return this.graph.op("Reshape", [stacked, this.graph.ints([rows, batch * out[0]! * out[1]!])]);
  }

  private view(starts: readonly number[], steps: readonly number[], out: readonly number[]): Value {
    const ends = starts.map((start, axis) => start + (out[axis]! - 1) * steps[axis]! + 1);
    const whole = this.image.shape.slice(2).every((size, axis) => size === out[axis]);
    if (whole) return this.image;
    const key = [starts, steps, ends].join(";");
    let view = this.cut.get(key);
    if (!view) {
      const { graph } = this;
      const stride = steps.every((step) => step === 1) ? undefined : graph.ints(steps);
      view = graph.op("Slice", [
        this.image,
        graph.ints(starts),
        graph.ints(ends),
        graph.ints([2, 3]),
        stride,
      ]);
      this.cut.set(key, view);
    }
    return view;
  }
}
