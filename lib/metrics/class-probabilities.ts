/**
 * What a classifier gives, as one probability per class: logits go through softmax; one output, through sigmoid if it
 * is a logit, is the probability p of the second of two classes, the first has 1 - p.
 */

import type { OutputScores } from "../protocol/models.ts";

/** @param given [rows, outputs], row-major @returns [rows, classes], where one output makes two classes */
export function classProbabilities(given: Float32Array, outputs: number, scores: OutputScores): Float32Array {
  if (outputs === 1) {
    const probabilities = new Float32Array(2 * given.length);
    for (const [row, x] of given.entries()) {
      // Kept in range: a network without a last sigmoid may give any number.
      const p = scores === "logits" ? 1 / (1 + Math.exp(-x)) : Math.min(Math.max(x, 0), 1);
      probabilities[2 * row] = 1 - p;
      probabilities[2 * row + 1] = p;
    }
    return probabilities;
  }
  if (scores === "probabilities") return given;
  const probabilities = new Float32Array(given.length);
  for (let from = 0; from < given.length; from += outputs) {
    const row = given.subarray(from, from + outputs);
    const largest = row.reduce((a, b) => Math.max(a, b));
    const shares = Float64Array.from(row, (x) => Math.exp(x - largest));
    const sum = shares.reduce((a, b) => a + b);
    for (const [k, share] of shares.entries()) probabilities[from + k] = share / sum;
  }
  return probabilities;
}
