/**
 * Two answers to the same request, element by element: floating-point outputs by their distance, all others exactly.
 * NaN is like NaN, and an infinity like itself. Outputs are compared by name; one that the other lacks, or has in
 * another type or shape, makes the answers differ.
 */

import type { Tensor } from "../tensor/tensor.ts";

export type Difference = {
  /** Whether no element is further off than the tolerance. */
  same: boolean;
  /** Largest distance between two finite elements. */
  largest: number;
  /** Whether some row of scores, one for each class, has its highest elsewhere. */
  otherClass: boolean;
};

/** @param classes how many class names the model has; its scores are outputs of so many in the last dimension */
export function differenceOf(
  ours: readonly Tensor[],
  theirs: readonly Tensor[],
  tolerance: number,
  classes: number,
): Difference {
  const difference: Difference = { same: ours.length === theirs.length, largest: 0, otherClass: false };
  for (const tensor of ours) {
    const other = theirs.find(({ name }) => name === tensor.name);
    if (!other || other.datatype !== tensor.datatype || other.shape.join() !== tensor.shape.join()) {
      difference.same = false;
      continue;
    }
    const [a, b] = [floatsOf(tensor), floatsOf(other)];
    if (!a || !b) {
      if (!equal(tensor, other)) difference.same = false;
      continue;
    }
    compareFloats(a, b, tolerance, difference);
    if (classes > 1 && tensor.shape.at(-1) === classes) difference.otherClass ||= otherHighest(a, b, classes);
  }
  return difference;
}

type Floats = ArrayLike<number>;

function compareFloats(a: Floats, b: Floats, tolerance: number, difference: Difference): void {
  for (let i = 0; i < a.length; i++) {
    const distance = Math.abs(a[i]! - b[i]!);
    if (distance <= tolerance) {
      if (distance > difference.largest) difference.largest = distance;
    } else if (!Object.is(a[i], b[i])) {
      difference.same = false;
      if (distance > difference.largest && Number.isFinite(distance)) difference.largest = distance;
    }
  }
}

function equal({ data: a }: Tensor, { data: b }: Tensor): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function otherHighest(a: Floats, b: Floats, classes: number): boolean {
  for (let from = 0; from < a.length; from += classes)
    if (highest(a, from, classes) !== highest(b, from, classes)) return true;
  return false;
}

function highest(scores: Floats, from: number, count: number): number {
  let best = from;
  for (let i = from + 1; i < from + count; i++) if (scores[i]! > scores[best]!) best = i;
  return best;
}

/** The numbers of a floating-point tensor; undefined of any other. */
function floatsOf({ datatype, data }: Tensor): Floats | undefined {
  if (datatype === "FP32" || datatype === "FP64") return data as Float32Array | Float64Array;
  if (datatype === "FP16") return Float64Array.from(data as Uint16Array, halfToNumber);
  if (datatype === "BF16") return bfloatsToFloats(data as Uint16Array);
  return undefined;
}

/** IEEE 754 binary16. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The upper halves of FP32. */
function bfloatsToFloats(halves: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(halves, (bits) => bits << 16).buffer);
}
