/**
 * The answer of `POST /predict`: the index of the most probable class and all probabilities, for one image or,
 * as arrays, for a batch. `label` is there when the model's class names say more than the index does.
 */

import { ExecutionError } from "../errors.ts";
import { assertFinite } from "../oip/infer-response.ts";
import { printFloat32 } from "../oip/number-text.ts";
import type { PredictResponse } from "../protocol/inference.ts";

/** @throws {ExecutionError} when the model's first output is not FP32 [batch, classes], or not finite */
export function printImageResponse(
  response: PredictResponse,
  labels: readonly string[],
  batch: boolean,
): string {
  const output = response.outputs[0];
  const [rows, classes] = output?.shape ?? [];
  if (output?.datatype !== "FP32" || output.shape.length !== 2 || rows === undefined || !classes)
    throw new ExecutionError(
      `Model '${response.model}' version '${response.version}'`,
      "its first output is not FP32 [batch, classes]; use /v2/models/{model}/infer",
    );
  const scores = output.data as Float32Array;
  assertFinite(scores, output.name, response);

  const predictions: number[] = [];
  for (let row = 0; row < rows; row++) predictions.push(indexOfMax(scores, row * classes, classes));
  const probabilities = predictions.map((_, row) => printFloat32(scores, row * classes, (row + 1) * classes));
  const named = predictions.map((index) => labels[index] ?? String(index));
  const label = predictions.every((index, row) => named[row] === String(index))
    ? ""
    : `,"label":${JSON.stringify(batch ? named : named[0])}`;

  const answer = batch
    ? `"prediction":[${predictions.join(",")}]${label},"probabilities":[${probabilities.join(",")}]`
    : `"prediction":${predictions[0]}${label},"probabilities":${probabilities[0]}`;
  return `{${answer},"model":${JSON.stringify(response.model)},"version":${JSON.stringify(response.version)}}`;
}

/** Index, from 0, of the first largest of `length` elements from `start`. */
function indexOfMax(scores: Float32Array, start: number, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i++) if (scores[start + i]! > scores[start + best]!) best = i;
  return best;
}
