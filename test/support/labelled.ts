/** Examples of one input and one class each, as most tests train on. */

import { type Examples, memoryColumn } from "../../lib/data/examples.ts";
import type { Datatype, NumericArray } from "../../lib/tensor/datatype.ts";

export function labelled(
  shape: number[],
  datatype: Datatype,
  features: NumericArray,
  labels: Uint8Array,
  labelNames = Array.from({ length: Math.max(...labels) + 1 }, (_, i) => String(i)),
): Examples {
  return {
    count: labels.length,
    inputs: [memoryColumn({ name: "x", shape, datatype }, features)],
    targets: [memoryColumn({ name: "label", shape: [], datatype: "UINT8", labelNames }, labels)],
  };
}
