/**
 * Gradients of average-pooling over [N, C, L] and [N, C, H, W] and of enlarging by repetition. Of windows side by side
 * each output's share is repeated. Otherwise, averages along rows and along columns being products with a fixed
 * matrix each, the way back is a product with each transposed, whatever strides and padding: measured, it is faster
 * than a transposed convolution, which is left for sizes that would make the matrices large.
 */

import type { Value } from "../../onnx/builder.ts";
import { windowOf } from "../../onnx/operators/window.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const MAX_MATRIX_SIZE = 256;

/** One spatial axis of a pooling: `places` windows over `size` elements. */
type Axis = { size: number; places: number; kernel: number; stride: number; pad: number; padCounts: boolean };

const averagePool: GradientRule = (c) => {
  const { kernel, strides, dilations, pads } = windowOf(c.view, c.view.ints("kernel_shape")!);
  if (kernel.length > 2 || dilations.some((dilation) => dilation !== 1))
    return c.view.fail("only windows of one or two axes without dilations are differentiated");
  const padCounts = c.view.int("count_include_pad", 0) === 1;
  if (padCounts && c.view.int("ceil_mode", 0) === 1)
    return c.view.fail("count_include_pad with ceil_mode is not differentiated");
  const [inside, outside] = [c.known(c.input(0).shape).slice(2), c.known(c.output().shape).slice(2)];
  const axes = kernel.map((cells, i): Axis => {
    const [size, places, stride, pad] = [inside[i]!, outside[i]!, strides[i]!, pads[i]!];
    return { size, places, kernel: cells, stride, pad, padCounts };
  });
  if (axes.every((axis) => axis.stride === axis.kernel && axis.places * axis.kernel === axis.size))
    return [repeatShares(c, kernel)];
  return [inside.every((size) => size <= MAX_MATRIX_SIZE) ? multiplyBack(c, axes) : convolveBack(c, axes)];
};

/** For windows side by side that cover the input. */
function repeatShares(c: GradientContext, kernel: readonly number[]): Value {
  const share = 1 / kernel.reduce((a, b) => a * b, 1);
  if (kernel.length === 2) return repeat(c, c.mul(c.gradient(), c.scalar(share)), kernel);
  const row = constant(c, `row_${kernel}`, [1, kernel[0]!], () => share);
  const column = c.op("Reshape", [c.gradient(), c.graph.ints([-1, 1])]);
  return c.reshape(c.op("Gemm", [column, row]), c.input(0).shape);
}

/** One matrix per axis: how much of each element each average takes. */
function multiplyBack(c: GradientContext, axes: readonly Axis[]): Value {
  const matrix = (axis: Axis, transposed: boolean) => {
    const { size, places, kernel, stride, pad, padCounts } = axis;
    const name = `shares_${[size, places, kernel, stride, pad, padCounts, transposed].join("_")}`;
    return transposed
      ? constant(c, name, [places, size], (i) => share(axis, Math.floor(i / size), i % size))
      : constant(c, name, [size, places], (i) => share(axis, i % places, Math.floor(i / places)));
  };
  const rows = axes.length === 2 ? c.op("MatMul", [matrix(axes[0]!, false), c.gradient()]) : c.gradient();
  return c.op("MatMul", [rows, matrix(axes.at(-1)!, true)]);
}

/** The shares, put back by a convolution with ones of each plane apart. */
function convolveBack(c: GradientContext, axes: readonly Axis[]): Value {
  const one: Axis = { size: 1, places: 1, kernel: 1, stride: 1, pad: 0, padCounts: false };
  const both = axes.length === 2 ? axes : [one, ...axes];
  const [rows, columns] = both as [Axis, Axis];
  const shares = c.graph.initializer("shares", {
    datatype: "FP32",
    shape: axes.map((axis) => axis.places),
    data: Float32Array.from({ length: rows.places * columns.places }, (_, i) => {
      const [row, column] = [Math.floor(i / columns.places), i % columns.places];
      return 1 / (counted(rows, row) * counted(columns, column));
    }),
  });
  const planes = [-1, 1, rows.places, columns.places];
  const scaled = c.op("Reshape", [c.mul(c.gradient(), shares), c.graph.ints(planes)]);
  const window = both.map((axis) => axis.kernel);
  const ones = constant(c, `ones_${window.join("_")}`, [1, 1, ...window], () => 1);
  // How far the windows reach beyond the last element; negative: how many elements none reaches.
  const over = both.map(
    ({ size, places, kernel, stride, pad }) => (places - 1) * stride + kernel - pad - size,
  );
  const whole = c.op("ConvTranspose", [scaled, ones], {
    kernel_shape: window,
    strides: both.map((axis) => axis.stride),
    pads: [...both.map((axis) => axis.pad), ...over.map((cells) => Math.max(cells, 0))],
    output_padding: over.map((cells) => Math.max(-cells, 0)),
  });
  return c.reshape(whole, c.input(0).shape);
}

/** Among how many cells the window at `place` divides. */
function counted({ size, kernel, stride, pad, padCounts }: Axis, place: number): number {
  const begin = place * stride - pad;
  return padCounts ? kernel : Math.min(begin + kernel, size) - Math.max(begin, 0);
}

/** How much of `element` the average at `place` takes. */
function share(axis: Axis, place: number, element: number): number {
  const at = element - (place * axis.stride - axis.pad);
  return at >= 0 && at < axis.kernel ? 1 / counted(axis, place) : 0;
}

function constant(c: GradientContext, name: string, shape: number[], at: (i: number) => number): Value {
  const length = shape.reduce((a, b) => a * b, 1);
  return c.graph.constant(name, {
    datatype: "FP32",
    shape,
    data: Float32Array.from({ length }, (_, i) => at(i)),
  });
}

/** Every element as often as `factors` say along the last axes. */
function repeat(c: GradientContext, x: Value, factors: readonly number[]): Value {
  const scales = [1, 1, ...factors];
  const given = constant(c, `scales_${factors.join("_")}`, [scales.length], (i) => scales[i]!);
  return c.op("Resize", [x, undefined, given], {
    mode: "nearest",
    coordinate_transformation_mode: "asymmetric",
    nearest_mode: "floor",
  });
}

/** The sum over the copies of each element: their average, times how many they are. */
const resize: GradientRule = (c) => {
  const nearest =
    c.view.string("mode", "nearest") === "nearest" &&
    c.view.string("coordinate_transformation_mode", "half_pixel") === "asymmetric" &&
    c.view.string("nearest_mode", "round_prefer_floor") === "floor";
  const [batch, channels, ...factors] = c.view.constant(2);
  if (!nearest || batch !== 1 || channels !== 1 || !factors.every((factor) => Number.isInteger(factor)))
    return c.view.fail("only whole repetitions along the axes after the second are differentiated");
  const average = c.op("AveragePool", [c.gradient()], { kernel_shape: factors, strides: factors });
  return [c.mul(average, c.scalar(factors.reduce((a, b) => a * b, 1)))];
};

export const averagePooling: Record<string, GradientRule> = { AveragePool: averagePool, Resize: resize };
