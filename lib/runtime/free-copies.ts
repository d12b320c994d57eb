/**
 * onnxruntime-node copies every output into a new array, even where it was given one to write to. Left to the garbage
 * collector these copies, which it does not see as its own, force a full collection every few calls.
 */

import type { Tensor } from "onnxruntime-node";

/** Frees at once what a run returned beside the `given` tensors it wrote to; what was returned must not be read after. */
export function freeCopies(
  returned: Readonly<Record<string, Tensor>>,
  given: Readonly<Record<string, Tensor>>,
): void {
  for (const [name, { data }] of Object.entries(returned)) {
    if (!ArrayBuffer.isView(data) || !(data.buffer instanceof ArrayBuffer)) continue;
    const own = given[name]?.data;
    if (!own || (ArrayBuffer.isView(own) && own.buffer === data.buffer)) continue;
    // Emptying a buffer frees its memory; before Node 22 there is no such way.
    data.buffer.transfer?.(0);
  }
}
