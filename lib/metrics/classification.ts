/**
 * Scores of a classifier from its confusion matrix, by scikit-learn's definitions: precision, recall and F1 per
 * class with 0 where a denominator is 0, macro averages over the classes, accuracy over the examples.
 */

import type { ClassificationScores } from "../protocol/models.ts";

/** Probabilities below this are taken as this in the loss: log 0 has no finite value. */
const SMALLEST_PROBABILITY = 1e-7;

export class ClassificationTally {
  private readonly matrix: number[][];
  private readonly labelNames: readonly string[];
  private lossSum = 0;

  constructor(labelNames: readonly string[]) {
    this.labelNames = labelNames;
    this.matrix = labelNames.map(() => labelNames.map(() => 0));
  }

  /** Counts a batch. `probabilities` is [labels.length, classes], row-major. */
  add(probabilities: Float32Array, labels: ArrayLike<number>): void {
    const classes = probabilities.length / labels.length;
    for (let row = 0; row < labels.length; row++) {
      let best = 0;
      for (let k = 1; k < classes; k++)
        if (probabilities[row * classes + k]! > probabilities[row * classes + best]!) best = k;
      const label = labels[row]!;
      this.matrix[label]![best]!++;
      this.lossSum -= Math.log(Math.max(probabilities[row * classes + label]!, SMALLEST_PROBABILITY));
    }
  }

  result(): ClassificationScores {
    const support = this.matrix.map((row) => sum(row));
    const predicted = this.matrix.map((_, k) => sum(this.matrix.map((row) => row[k]!)));
    const hits = this.matrix.map((row, k) => row[k]!);
    const examples = sum(support);
    const perClass = this.labelNames.map((label, k) => {
      const precision = ratio(hits[k]!, predicted[k]!);
      const recall = ratio(hits[k]!, support[k]!);
      return {
        label,
        precision,
        recall,
        f1: ratio(2 * precision * recall, precision + recall),
        support: support[k]!,
      };
    });
    const mean = (of: (scores: (typeof perClass)[number]) => number) =>
      sum(perClass.map(of)) / perClass.length;
    return {
      kind: "classification",
      examples,
      loss: ratio(this.lossSum, examples),
      accuracy: ratio(sum(hits), examples),
      macro: { precision: mean((c) => c.precision), recall: mean((c) => c.recall), f1: mean((c) => c.f1) },
      perClass,
      confusionMatrix: this.matrix.map((row) => [...row]),
    };
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}
