/**
 * The im2col matrix of a convolution, out of plain ONNX operators: one shifted view of the input per kernel position,
 * stacked so that the convolution, and the gradient of its weights, are each one matrix product.
 *
 * Where columns are left out (strides) the views of narrow images are products with matrices of ones and zeros, all
 * places of a kernel's row at once: exact, and twice as fast as copying single elements.
 */

import type { GraphBuilder, Value } from "./builder.ts";

export type WindowGeometry = {
  kernel: readonly number[];
  strides: readonly number[];
  dilations: readonly number[];
  /** [top, left, bottom, right] */
  pads: readonly number[];
};

/** Up to this width columns are picked by a product. */
const MAX_PICKED_WIDTH = 64;

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
    if (this.picks(steps[1]!)) return this.picked(out, first, steps, "columns");
    const views: Value[] = [];
    for (let i = 0; i < kernel[0]!; i++)
      for (let j = 0; j < kernel[1]!; j++) {
        const starts = [i, j].map((at, axis) => first[axis]! * strides[axis]! + at * dilations[axis]!);
        views.push(this.view(starts, steps, out));
      }
    const [channels, batch] = this.image.shape as [number, number];
    const rows = channels * views.length;
    return this.reshape(this.stacked(views), [rows, batch * out[0]! * out[1]!]);
  }

  /** What the columns from one place further right on have more than those from `first` on. */
  differences(out: readonly number[], first: readonly number[], every: number): Value {
    const steps = this.window.strides.map((stride) => stride * every);
    if (this.picks(steps[1]!)) return this.picked(out, first, steps, "differences");
    const right = this.columns(out, [first[0]!, first[1]! + 1], every);
    return this.graph.op("Sub", [right, this.columns(out, first, every)]);
  }

  private picks(step: number): boolean {
    return step > 1 && Number(this.image.shape[3]) <= MAX_PICKED_WIDTH;
  }

  private picked(
    out: readonly number[],
    first: readonly number[],
    steps: readonly number[],
    what: "columns" | "differences",
  ): Value {
    const { kernel, strides, dilations } = this.window;
    const [channels, batch, , width] = this.image.shape as [number, number, number, number];
    const [places, outWidth] = [kernel[1]!, out[1]!];
    const data = new Float32Array(places * width * outWidth);
    for (let place = 0; place < places; place++)
      for (let column = 0; column < outWidth; column++) {
        const from = first[1]! * strides[1]! + place * dilations[1]! + column * steps[1]!;
        const mark = (at: number, sign: number) => {
          data[(place * width + at) * outWidth + column] = sign;
        };
        if (what === "columns") mark(from, 1);
        else {
          mark(from + strides[1]!, 1);
          mark(from, -1);
        }
      }
    const name = ["picked", what, width, outWidth, places, first[1]! * strides[1]!, dilations[1]!, steps[1]!];
    const shape = [1, places, width, outWidth];
    const picks = this.graph.constant(name.join("_"), { datatype: "FP32", shape, data });
    const rows = this.reshape(this.rows(out[0]!, first[0]!, steps[0]!), [
      channels * kernel[0]!,
      1,
      batch * out[0]!,
      width,
    ]);
    const sizes = [channels * kernel[0]! * places, batch * out[0]! * outWidth];
    return this.reshape(this.graph.op("MatMul", [rows, picks]), sizes);
  }

  /** [C, KH·N, OH, W]: the rows that each row of the kernel meets. */
  private rows(count: number, first: number, step: number): Value {
    const { kernel, strides, dilations } = this.window;
    const width = Number(this.image.shape[3]);
    const starts = Array.from({ length: kernel[0]! }, (_, i) => first * strides[0]! + i * dilations[0]!);
    const key = `rows ${starts} ${step} ${count}`;
    let rows = this.cut.get(key);
    if (!rows) {
      rows = this.stacked(starts.map((start) => this.view([start, 0], [step, 1], [count, width])));
      this.cut.set(key, rows);
    }
    return rows;
  }

  /** Joined along the batch axis: per channel, its views one after another. */
  private stacked(views: readonly Value[]): Value {
    return views.length === 1 ? views[0]! : this.graph.op("Concat", views, { axis: 1 });
  }

  private reshape(value: Value, shape: readonly number[]): Value {
    return this.graph.op("Reshape", [value, this.graph.ints(shape)]);
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
