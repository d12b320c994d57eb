/**
 * Small arrays for the tensors of requests, cut one after another from buffers that they share: an ArrayBuffer of its
 * own costs each more than its elements do, and the collector more still. A part is never given twice, so it is zeroed
 * and its owner's alone; the shared buffer lives as long as any part of it. None may be transferred to a thread.
 */

import { allocate, type Datatype, elementBytes, type TensorData, viewOf } from "./datatype.ts";

const SLAB_BYTES = 128 * 1024;
/** Larger arrays get a buffer of their own. */
const MOST_BYTES = SLAB_BYTES / 16;
/** Of the largest element. */
const ALIGNMENT_BYTES = 8;

let slab = new ArrayBuffer(0);
let taken = 0;

/** A zeroed array that holds `length` elements of `datatype`, possibly a view. */
export function allocateShared(datatype: Datatype, length: number): TensorData {
  if (datatype === "BYTES" || length === 0) return allocate(datatype, length);
  const bytes = length * elementBytes(datatype);
  if (bytes > MOST_BYTES) return allocate(datatype, length);
  if (taken + bytes > slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BYTES);
    taken = 0;
  }
  const from = taken;
  taken += Math.ceil(bytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
  return viewOf(datatype, slab, from, length);
}
