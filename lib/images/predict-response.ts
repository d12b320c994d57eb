/**
 * The answer of `POST /predict`: the index of the most probable class and all probabilities, for one image or,
 * as arrays, for a batch; one output p is answered as [1 - p, p]. `label` is there when the model's class names say more than the index does.
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
  const [rows, outputs] = output?.shape ?? [];
  if (output?.datatype !== "FP32" || output.shape.length !== 2 || rows === undefined || !outputs)
    throw new ExecutionError(
      `Model '${response.model}' version '${response.version}'`,
      "its first output is not FP32 [batch, classes]; use /v2/models/{model}/infer",
    );
  const given = output.data as Float32Array;
  assertFinite(given, output.name, response);
  if (outputs === 1 && labels.length !== 2)
    throw new ExecutionError(
      `Model '${response.model}' version '${response.version}'`,
      "its only output is a score, not a probability; use /v2/models/{model}/infer",
    );
  const scores = outputs === 1 ? bothProbabilities(given) : given;
  const classes = Math.max(outputs, 2);

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

/** 1 - p and p of each row; kept in range, for a network without a last sigmoid may give any number. */
function bothProbabilities(given: Float32Array): Float32Array {
  const both = new Float32Array(2 * given.length);
  for (const [row, x] of given.entries()) {
    const p = Math.min(Math.max(x, 0), 1);
    both.set([1 - p, p], 2 * row);
  }
  return both;
}

/** Index, from 0, of the first largest of `length` elements from `start`. */
function indexOfMax(scores: Float32Array, start: number, length: number): number {
  let best = 0;
  for (let i = 1; i < length; i++) if (scores[start + i]! > scores[start + best]!) best = i;
  return best;
}
