/**
 * Where each weight lies in the flat vectors a training step works on: trained weights in one, moving statistics
 * in another, each in the order the network declares them.
 */

import type { WeightSpec } from "../nn/layer.ts";
import { inMemoryOrder, kerasWeightShape } from "../nn/weight-order.ts";
import { RandomStream } from "../random/stream.ts";
import { elementCount } from "../tensor/tensor.ts";

export type WeightSlice = { name: string; shape: number[]; offset: number; size: number };

export type WeightLayout = { slices: WeightSlice[]; size: number };

/** Neighbours that travel as one tensor: flat, unless it is one weight alone. */
export type WeightPiece = WeightLayout & { offset: number };

/**
 * Below, copying a weight costs less than a tensor of its own, which lies wherever the flat vector has it: the
 * Transformer of the benchmarks, all of whose weights are of 16 to 66 thousand elements, was a tenth slower with such.
 */
const MIN_OWN_TENSOR = 100_000;

/** The layout in order, large weights alone, smaller ones together; the slices' offsets are those in the layout. */
export function piecesOf(layout: WeightLayout): WeightPiece[] {
  const pieces: WeightPiece[] = [];
  let open: WeightPiece | undefined;
  for (const slice of layout.slices) {
    const large = slice.size >= MIN_OWN_TENSOR;
    if (open && !large) {
      open.slices.push(slice);
      open.size += slice.size;
      continue;
    }
    const piece = { offset: slice.offset, size: slice.size, slices: [slice] };
    pieces.push(piece);
    open = large ? undefined : piece;
  }
  return pieces;
}

/** How a piece travels. */
export function pieceShape({ slices, size }: WeightPiece): number[] {
  return slices.length === 1 ? slices[0]!.shape : [size];
}

export function layoutOf(specs: readonly WeightSpec[]): WeightLayout {
  let size = 0;
  const slices = specs.map((spec) => {
    const slice = { name: spec.name, shape: spec.shape, offset: size, size: elementCount(spec.shape) };
    size += slice.size;
    return slice;
  });
  return { slices, size };
}

/**
 * The values given for a weight by its name, else fresh ones, each from its own stream: adding a layer leaves the
 * others' draws as they were.
 */
export function initialWeights(
  specs: readonly WeightSpec[],
  layout: WeightLayout,
  seed: number,
  given?: ReadonlyMap<string, Float32Array>,
): Float32Array {
  const flat = new Float32Array(layout.size);
  specs.forEach((spec, i) => {
    const values = given?.get(spec.name);
    if (values) {
      flat.set(values, layout.slices[i]!.offset);
      return;
    }
    const drawn = spec.initializer(
      kerasWeightShape(spec),
      spec.fans,
      RandomStream.named(seed, `init/${spec.name}`),
    );
    flat.set(inMemoryOrder(drawn, spec), layout.slices[i]!.offset);
  });
  return flat;
}

/** The flat vector cut into its named weights; views, not copies. */
export function namedWeights(
  layout: WeightLayout,
  flat: Float32Array,
): Map<string, { shape: number[]; data: Float32Array }> {
  return new Map(
    layout.slices.map(({ name, shape, offset, size }) => [
      name,
      { shape, data: flat.subarray(offset, offset + size) },
    ]),
  );
}
