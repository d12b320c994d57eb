/**
 * Gradients of max-pooling over [N, C, H, W]. Each output's gradient goes to the element that won; among equal
 * ones to the first in row-major order, as in TensorFlow.
 *
 * ONNX Runtime's MaxPool is slow once it has to tell the winners' positions, so the common case (2x2 windows side
 * by side) finds them by comparison instead: a tournament between left and right, then between top and bottom.
 * Bringing left and right elements apart, and their gradients together again, is a product with a permutation
 * matrix: exact, and faster than strided slices. Of narrow images whole windows are compared at once, by products
 * over both rows of a window. Other windows use the positions.
 */

import type { Value } from "../../onnx/builder.ts";
import { float } from "../../onnx/graph.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

/** Beyond this width the permutation costs more than it saves. */
const MAX_PERMUTED_WIDTH = 256;
/** Beyond this width products over two rows cost more than those over one. */
const MAX_PAIRED_WIDTH = 32;

const maxPool: GradientRule = (c) => {
  const kernel = c.view.ints("kernel_shape")!;
  const strides = c.view.ints("strides") ?? kernel.map(() => 1);
  const shape = c.known(c.input(0).shape);
  const padded = (c.view.ints("pads") ?? []).some((pad) => pad !== 0);
  const dilated = (c.view.ints("dilations") ?? []).some((dilation) => dilation !== 1);
  const plain = !padded && !dilated && c.view.int("ceil_mode", 0) === 0;
  const pairs = kernel.join() === "2,2" && strides.join() === "2,2" && shape.length === 4;
  if (plain && pairs && shape[3]! <= MAX_PERMUTED_WIDTH) return [tournament(c, shape)];
  return [
    plain && kernel.every((size, i) => strides[i]! >= size)
      ? unpool(c, shape, kernel, strides)
      : scatter(c, shape),
  ];
};

/** Windows side by side: positions from the forward node, gradients put back by MaxUnpool. */
function unpool(c: GradientContext, shape: number[], kernel: number[], strides: number[]): Value {
  const positions = c.graph.extraOutput(c.node, 1);
  return c.op("MaxUnpool", [c.gradient(), positions, c.graph.ints(shape)], { kernel_shape: kernel, strides });
}

/** Windows that overlap: an element may win several, so gradients add up. */
function scatter(c: GradientContext, shape: number[]): Value {
  const positions = c.graph.extraOutput(c.node, 1);
  const size = shape.reduce((a, b) => a * b, 1);
  const zero = c.op("Expand", [c.scalar(0), c.graph.ints([size])]);
  const flat = (value: Value) => c.op("Reshape", [value, c.graph.ints([-1])]);
  const sums = c.op("ScatterElements", [zero, flat(positions), flat(c.gradient())], {
    axis: 0,
    reduction: "add",
  });
  return c.reshape(sums, shape);
}

/** 2x2 windows side by side. An odd last row or column belongs to no window and gets zero. */
function tournament(c: GradientContext, [n, channels, height, width]: number[]): Value {
  const planes = n! * channels!;
  const [rows, columns] = [Math.floor(height! / 2), Math.floor(width! / 2)];
  const even = 2 * rows;
  const g = c.graph;
  const cut =
    height === even ? c.input(0) : c.op("Slice", [c.input(0), g.ints([0]), g.ints([even]), g.ints([2])]);
  const grown = (found: Value) => {
    const whole = c.reshape(found, [n!, channels!, even, width!]);
    if (height === even) return whole;
    return c.op("Pad", [whole, g.ints([0, 0, 0, 0, 0, 0, height! - even, 0]), c.scalar(0)]);
  };
  if (width! <= MAX_PAIRED_WIDTH) return grown(byWindows(c, cut, planes * rows, width!));

  // Left and right elements of each pair, each by a product with the columns that pick them.
  const pixels = c.reshape(cut, [planes * even, width!]);
  const [pickLeft, pickRight] = [picks(c, width!, columns, 0), picks(c, width!, columns, 1)];
  const [left, right] = [c.op("Gemm", [pixels, pickLeft]), c.op("Gemm", [pixels, pickRight])];
  const best = c.reshape(c.op("Max", [left, right]), [planes * rows, 2 * columns]);
  const [top, bottom] = c.graph.ops("Split", [best, g.ints([columns, columns])], 2, { axis: 1 }) as [
    Value,
    Value,
  ];

  const gradient = c.reshape(c.gradient(), [planes * rows, columns]);
  const [toTop, toBottom] = route(c, top, bottom, gradient);
  const byRow = c.reshape(c.op("Concat", [toTop, toBottom], { axis: 1 }), [planes * even, columns]);
  const [toLeft, toRight] = route(c, left, right, byRow);
  const spread = c.op("Gemm", [toLeft, pickLeft], { transB: 1 });
  return grown(c.op("Gemm", [toRight, pickRight, spread], { transB: 1 }));
}

/**
 * The same over `pairs` of rows: an element wins that equals its window's maximum, if none before it in the window does.
 * The product with a matrix of 1 for itself and -1 for those before is 1 for the winner, at most 0 for all others.
 */
function byWindows(c: GradientContext, x: Value, pairs: number, width: number): Value {
  const columns = Math.floor(width / 2);
  const spread = c.graph.constant(`windows_${width}`, {
    datatype: "FP32",
    shape: [columns, 2 * width],
    data: matrix(columns, 2 * width, (column, cell) => (windowOf(cell, width) === column ? 1 : 0)),
  });
  const first = c.graph.constant(`first_of_window_${width}`, {
    datatype: "FP32",
    shape: [2 * width, 2 * width],
    data: matrix(2 * width, 2 * width, (other, cell) => {
      if (windowOf(cell, width) === undefined || windowOf(cell, width) !== windowOf(other, width)) return 0;
      return other === cell ? 1 : other < cell ? -1 : 0;
    }),
  });
  const everywhere = (pooled: Value) => c.op("Gemm", [c.reshape(pooled, [pairs, columns]), spread]);
  const less = c.sub(c.reshape(x, [pairs, 2 * width]), everywhere(c.output()));
  // 1 where nothing is missing, 0 where any normal number is: in place, where a comparison makes two tensors more.
  const equal = c.op("HardSigmoid", [less], { alpha: float(2 ** 127), beta: float(1) });
  const wins = c.op("Relu", [c.op("Gemm", [equal, first])]);
  return c.mul(everywhere(c.gradient()), wins);
}

/** The window, counted along its row of windows, of a cell of two rows; undefined for an odd last column. */
function windowOf(cell: number, width: number): number | undefined {
  const window = Math.floor((cell % width) / 2);
  return window < Math.floor(width / 2) ? window : undefined;
}

function matrix(rows: number, columns: number, at: (row: number, column: number) => number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns));
}

/** The gradient of max(a, b) for a and for b. Equal values: a wins. */
function route(c: GradientContext, a: Value, b: Value, gradient: Value): [Value, Value] {
  const toA = c.where(c.op("GreaterOrEqual", [a, b]), gradient);
  return [toA, c.sub(gradient, toA)];
}

/** [width, columns]: the product with it has elements 2j + offset. */
function picks(c: GradientContext, width: number, columns: number, offset: 0 | 1): Value {
  const data = new Float32Array(width * columns);
  for (let j = 0; j < columns; j++) data[(2 * j + offset) * columns + j] = 1;
  return c.graph.constant(`picks_${width}_${offset}`, { datatype: "FP32", shape: [width, columns], data });
}

export const pooling: Record<string, GradientRule> = { MaxPool: maxPool };
