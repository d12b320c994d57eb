/**
 * Scores of a classifier from its confusion matrix, by scikit-learn's definitions: precision, recall and F1 per
 * class with 0 where a denominator is 0, macro averages over the classes, accuracy over the examples.
 */

import type { ClassificationScores } from "../protocol/models.ts";

/** Probabilities below this are taken as this in the loss: log 0 has no finite value. */
const SMALLEST_PROBABILITY = 1e-7;

/** The matrix grows with the square of the classes; of more than these it is left out. */
const MAX_MATRIX_CLASSES = 1000;

export class ClassificationTally {
  /** Empty for too many classes. */
  private readonly matrix: number[][];
  /** By class: examples of it, and how often it was said and was right. */
  private readonly support: number[];
  private readonly predicted: number[];
  private readonly hits: number[];
  private readonly labelNames: readonly string[];
  private lossSum = 0;

  constructor(labelNames: readonly string[]) {
    this.labelNames = labelNames;
    const none = () => labelNames.map(() => 0);
    this.matrix = labelNames.length > MAX_MATRIX_CLASSES ? [] : labelNames.map(none);
    this.support = none();
    this.predicted = none();
    this.hits = none();
  }

  /** Counts a batch. `probabilities` is [labels.length, classes], row-major. */
  add(probabilities: Float32Array, labels: ArrayLike<number>): void {
    const classes = probabilities.length / labels.length;
    for (let row = 0; row < labels.length; row++) {
      let best = 0;
      for (let k = 1; k < classes; k++)
        if (probabilities[row * classes + k]! > probabilities[row * classes + best]!) best = k;
      const label = labels[row]!;
      if (this.matrix.length > 0) this.matrix[label]![best]!++;
      this.support[label]!++;
      this.predicted[best]!++;
      if (best === label) this.hits[label]!++;
      this.lossSum -= Math.log(Math.max(probabilities[row * classes + label]!, SMALLEST_PROBABILITY));
    }
  }

  result(): ClassificationScores {
    const { support, predicted, hits } = this;
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
