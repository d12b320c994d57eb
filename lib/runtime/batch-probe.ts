/**
 * Finds out whether requests may share a batch: a free first dimension in the declaration promises it, but graphs
 * break the promise (a Reshape with a baked-in 1, a softmax or a mean over the batch). So the runtime is asked:
 * a row of ones and a row of zeros must answer the same together as each alone. What fails here is served unmerged,
 * which is always right.
 */

import type { InferenceSession } from "onnxruntime-node";
import type { ModelSignature } from "../protocol/models.ts";
import { allocate, type TensorData } from "../tensor/datatype.ts";
import { elementCount, type Tensor, type TensorSpec } from "../tensor/tensor.ts";
import { fromOrt, toOrt } from "./ort-tensor.ts";

/** Kernels for another batch size may sum in another order; a row that depends on its neighbour is off by far more. */
const RELATIVE_TOLERANCE = 1e-3;
const ABSOLUTE_TOLERANCE = 1e-4;
/** FP16 is compared by its raw words; neighbours in value are neighbours in them. */
const FP16_TOLERANCE_ULP = 16;

/** Runs the model on rows of constant value; further free dimensions have size 1. */
export async function runFilled(
  session: InferenceSession,
  { inputs }: ModelSignature,
  rows: readonly (0 | 1)[],
): Promise<Tensor[]> {
  const feeds = inputs.map((spec) => [spec.name, toOrt(filled(spec, rows))] as const);
  const results = await session.run(Object.fromEntries(feeds));
  return session.outputNames.map((name) => fromOrt(name, results[name]!));
}

/**
 * Whether rows are computed independently of one another.
 * @param zero the model's answer to one row of zeros
 */
export async function rowsAreIndependent(
  session: InferenceSession,
  signature: ModelSignature,
  zero: readonly Tensor[],
): Promise<boolean> {
  const specs = [...signature.inputs, ...signature.outputs];
  if (signature.inputs.length === 0 || !specs.every(({ shape }) => shape[0] === -1)) return false;
  try {
    const one = await runFilled(session, signature, [1]);
    const both = await runFilled(session, signature, [1, 0]);
    return both.every((output, i) => isStacked(output, one[i]!, zero[i]!));
  } catch {
    return false;
  }
}

function isStacked(both: Tensor, first: Tensor, second: Tensor): boolean {
  const size = first.data.length;
  return (
    both.shape[0] === 2 &&
    second.data.length === size &&
    both.data.length === 2 * size &&
    isClose(both, 0, first.data) &&
    isClose(both, size, second.data)
  );
}

function isClose({ datatype, data }: Tensor, offset: number, expected: TensorData): boolean {
  for (let i = 0; i < expected.length; i++) {
    const a = data[offset + i]!;
    const b = expected[i]!;
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    if (typeof a !== "number" || typeof b !== "number") return false;
    const tolerance =
      datatype === "FP16"
        ? FP16_TOLERANCE_ULP
        : datatype === "FP32" || datatype === "FP64"
          ? ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * Math.abs(b)
          : 0;
    if (!(Math.abs(a - b) <= tolerance)) return false;
  }
  return true;
}

function filled({ name, datatype, shape }: TensorSpec, rows: readonly (0 | 1)[]): Tensor {
  const size = shape.map((length, axis) => (length !== -1 ? length : axis === 0 ? rows.length : 1));
  const data = allocate(datatype, elementCount(size));
  const stride = data.length / (shape[0] === -1 ? rows.length : 1);
  if (!Array.isArray(data))
    for (const [row, value] of rows.entries())
      if (value === 1) {
        if (data instanceof BigInt64Array || data instanceof BigUint64Array)
          data.fill(1n, row * stride, (row + 1) * stride);
        // 0x3c00 is 1 in half precision.
        else data.fill(datatype === "FP16" ? 0x3c00 : 1, row * stride, (row + 1) * stride);
      }
  return { name, datatype, shape: size, data };
}
