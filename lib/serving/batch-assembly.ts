/**
 * Rows of several requests into one batch, and the batch's outputs back into each caller's own rows.
 *
 * Copies: each input once, into the batch's buffer. That copy is what makes it safe to transfer the buffer to a
 * thread: the caller's array may be a view into a whole network message, and stays the caller's. Outputs are not
 * copied: callers get views, so the rows of one batch share a buffer.
 */

import { ExecutionError } from "../errors.ts";
import { allocate, type NumericArray, type TensorData } from "../tensor/datatype.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";

/** One request's share of a batch: inputs in the model's order, all with the same first dimension. */
export type Share = { inputs: readonly Tensor[]; rows: number };

/** Fresh tensors that hold the inputs of all shares, one after another along the first dimension. */
export function assemble(shares: readonly Share[]): Tensor[] {
  const [first] = shares as [Share];
  return first.inputs.map((model, input) => {
    const parts = shares.map((share) => share.inputs[input]!);
    const shape = shares.length === 1 ? model.shape : [totalRows(shares), ...model.shape.slice(1)];
    return { name: model.name, datatype: model.datatype, shape, data: concatenate(model, parts) };
  });
}

/** Joins the outputs of consecutive parts of one request along the first dimension. */
export function join(parts: readonly (readonly Tensor[])[]): Tensor[] {
  return assemble(parts.map((inputs) => ({ inputs, rows: inputs[0]?.shape[0] ?? 0 })));
}

/** Rows `from` up to `to` of every tensor, as views. */
export function sliceRows(tensors: readonly Tensor[], from: number, to: number): Tensor[] {
  return tensors.map(({ name, datatype, shape, data }) => {
    const rest = shape.slice(1);
    const stride = elementCount(rest);
    return { name, datatype, shape: [to - from, ...rest], data: view(data, from * stride, to * stride) };
  });
}

/**
 * Each share's rows of the batch's outputs, as views, in the order of the shares.
 * @throws {ExecutionError} when an output does not have exactly one row per input row: then nobody can say whose
 * they are
 */
export function split(outputs: readonly Tensor[], shares: readonly Share[]): Tensor[][] {
  const rows = totalRows(shares);
  for (const { name, shape } of outputs)
    if (shape[0] !== rows)
      throw new ExecutionError(
        "Splitting a batch",
        `output "${name}" has ${shape[0]} rows for ${rows} inputs`,
      );
  let from = 0;
  return shares.map((share) => {
    const own = sliceRows(outputs, from, from + share.rows);
    from += share.rows;
    return own;
  });
}

function totalRows(shares: readonly Share[]): number {
  let rows = 0;
  for (const share of shares) rows += share.rows;
  return rows;
}

function concatenate(model: Tensor, parts: readonly Tensor[]): TensorData {
  if (model.datatype === "BYTES") return parts.flatMap(({ data }) => data as string[]);
  let length = 0;
  for (const { data } of parts) length += data.length;
  const whole = allocate(model.datatype, length) as Float32Array;
  let offset = 0;
  for (const { data } of parts) {
    whole.set(data as Float32Array, offset);
    offset += data.length;
  }
  return whole;
}

function view(data: TensorData, from: number, to: number): TensorData {
  return Array.isArray(data)
    ? data.slice(from, to)
    : ((data as NumericArray).subarray(from, to) as NumericArray);
}
