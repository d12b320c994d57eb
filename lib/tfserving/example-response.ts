/**
 * TensorFlow Serving REST: what `:classify` and `:regress` answer, `{"results": …}`. Classes of an example are pairs of
 * label and score, in the order of the model's classes; one output p of two classes is answered as 1 - p and p.
 */

import { ExecutionError } from "../errors.ts";
import type { PredictResponse } from "../protocol/inference.ts";
import { formatShape, type Tensor } from "../tensor/tensor.ts";
import { printFloat32, printFloat64 } from "./value-text.ts";

/** @throws {ExecutionError} when the output is not `[rows, classes]` of floats */
export function printClassifyResponse(
  response: PredictResponse,
  labels: readonly string[],
  rows: number,
): string {
  const { shape, values, print } = floatsOf(response);
  const columns = shape[1] ?? 0;
  const binary = columns === 1 && labels.length === 2;
  if (shape.length !== 2 || shape[0] !== rows || (!binary && columns !== labels.length))
    throw unexpected(response, `[${rows},${labels.length}]`);
  const names = labels.map((label) => JSON.stringify(label));
  const results: string[] = [];
  for (let row = 0; row < rows; row++) {
    const first = row * columns;
    const scores = binary
      ? [1 - values[first]!, values[first]!]
      : Array.from(values.subarray(first, first + columns));
    results.push(`[${scores.map((score, i) => `[${names[i]},${print(score)}]`).join(",")}]`);
  }
  return `{"results":[${results.join(",")}]}`;
}

/** @throws {ExecutionError} when the output is not one float per row */
export function printRegressResponse(response: PredictResponse, rows: number): string {
  const { shape, values, print } = floatsOf(response);
  if (shape[0] !== rows || values.length !== rows) throw unexpected(response, `[${rows}] or [${rows},1]`);
  return `{"results":[${Array.from(values, print).join(",")}]}`;
}

type Floats = { shape: number[]; values: Float32Array | Float64Array; print: (value: number) => string };

function floatsOf(response: PredictResponse): Floats {
  const { shape, datatype, data } = response.outputs[0] as Tensor;
  if (datatype === "FP32")
    return { shape, values: data as Float32Array, print: (value) => printFloat32(Math.fround(value)) };
  if (datatype === "FP64") return { shape, values: data as Float64Array, print: printFloat64 };
  throw unexpected(response, "FP32 or FP64");
}

function unexpected({ model, version, outputs }: PredictResponse, expected: string): ExecutionError {
  const { name, datatype, shape } = outputs[0] as Tensor;
  return new ExecutionError(
    `Model '${model}' version '${version}'`,
    `its output '${name}' is ${datatype}${formatShape(shape)}, expected ${expected}`,
  );
}
