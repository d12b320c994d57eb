/**
 * Finds NaN and infinities in float tensors. Every prediction is scanned, so the scan is four independent sums of
 * x * 0 (0 unless some x is not finite): about 0.25 µs for a 28x28 image, a third of a loop with a test per element.
 */

import type { Tensor } from "../tensor/tensor.ts";

/** Index of the first element that is NaN or infinite; -1 without one, and for datatypes that have none. */
export function firstNonFinite({ datatype, data }: Tensor): number {
  if (datatype === "FP32" || datatype === "FP64") {
    const values = data as Float32Array | Float64Array;
    return allFinite(values) ? -1 : values.findIndex((value) => !Number.isFinite(value));
  }
  // Half precision: all exponent bits set.
  if (datatype === "FP16") return (data as Uint16Array).findIndex((bits) => (bits & 0x7c00) === 0x7c00);
  return -1;
}

function allFinite(values: Float32Array | Float64Array): boolean {
  const blocks = values.length & ~3;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let i = 0; i < blocks; i += 4) {
    a += values[i]! * 0;
    b += values[i + 1]! * 0;
    c += values[i + 2]! * 0;
    d += values[i + 3]! * 0;
  }
  for (let i = blocks; i < values.length; i++) a += values[i]! * 0;
  return a + b + c + d === 0;
}
