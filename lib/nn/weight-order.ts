/** Weights as Keras states them and as they lie in memory, where `WeightSpec.order` tells the two apart. */

import type { WeightSpec } from "./layer.ts";

type Placed = Pick<WeightSpec, "shape" | "order">;

/** The shape of Keras's variable. */
export function kerasWeightShape({ shape, order }: Placed): number[] {
  if (!order) return [...shape];
  const keras = new Array<number>(order.length);
  order.forEach((axis, i) => {
    keras[axis] = shape[i]!;
  });
  return keras;
}

/** The values of Keras's variable, row by row, with the axes as they lie in memory. */
export function inMemoryOrder(values: Float32Array, weight: Placed): Float32Array {
  const { shape, order } = weight;
  if (!order) return values;
  const keras = kerasWeightShape(weight);
  const strides = keras.map((_, axis) => keras.slice(axis + 1).reduce((a, b) => a * b, 1));
  const moved = new Float32Array(values.length);
  const place = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let to = 0; to < moved.length; to++) {
    moved[to] = values[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = strides[order[axis]!]!;
      from += stride;
      if (++place[axis]! < shape[axis]!) break;
      from -= stride * shape[axis]!;
      place[axis] = 0;
    }
  }
  return moved;
}
