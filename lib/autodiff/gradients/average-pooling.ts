/**
 * Gradients of average-pooling over [N, C, L] and [N, C, H, W] and of enlarging by repetition. Averages along rows and
 * along columns are each a product with a fixed matrix, so the way back is a product with each transposed, whatever
 * the strides and the padding; measured, it is as fast as a transposed convolution or faster. Windows side by side are
 * quicker still: each output's share, repeated.
 */

import type { Value } from "../../onnx/builder.ts";
import { windowOf } from "../../onnx/operators/window.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const averagePool: GradientRule = (c) => {
  const { kernel, strides, dilations, pads } = windowOf(c.view, c.view.ints("kernel_shape")!);
  const inside = c.known(c.input(0).shape).slice(2);
  const outside = c.known(c.output().shape).slice(2);
  if (kernel.length > 2 || dilations.some((dilation) => dilation !== 1))
    return c.view.fail("only windows of one or two axes without dilations are differentiated");
  const padded = c.view.int("count_include_pad", 0) === 1;
  if (padded && c.view.int("ceil_mode", 0) === 1)
    return c.view.fail("count_include_pad with ceil_mode is not differentiated");

  const tiled = kernel.every((size, i) => strides[i] === size && outside[i]! * size === inside[i]);
  if (tiled && kernel.length === 2) {
    const share = c.mul(c.gradient(), c.scalar(1 / (kernel[0]! * kernel[1]!)));
    return [repeat(c, share, kernel)];
  }
  /** [size, places]: how much of element i each of the averages takes. */
  const shares = (axis: number, transposed: boolean): Value => {
    const [size, places] = [inside[axis]!, outside[axis]!];
    const data = new Float32Array(size * places);
    for (let place = 0; place < places; place++) {
      const begin = place * strides[axis]! - pads[axis]!;
      const [from, to] = [Math.max(begin, 0), Math.min(begin + kernel[axis]!, size)];
      const share = 1 / (padded ? kernel[axis]! : to - from);
      for (let i = from; i < to; i++) data[transposed ? place * size + i : i * places + place] = share;
    }
    const name = `shares_${[size, kernel[axis], strides[axis], pads[axis], places].join("_")}`;
    return transposed
      ? c.graph.constant(`${name}_transposed`, { datatype: "FP32", shape: [places, size], data })
      : c.graph.constant(name, { datatype: "FP32", shape: [size, places], data });
  };
  const rows = kernel.length === 2 ? c.op("MatMul", [shares(0, false), c.gradient()]) : c.gradient();
  return [c.op("MatMul", [rows, shares(kernel.length - 1, true)])];
};

/** Every element as often as `factors` say along the last axes. */
function repeat(c: GradientContext, x: Value, factors: readonly number[]): Value {
  const data = Float32Array.of(1, 1, ...factors);
  const scales = c.graph.constant(`scales_${factors.join("_")}`, {
    datatype: "FP32",
    shape: [data.length],
    data,
  });
  return c.op("Resize", [x, undefined, scales], {
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
