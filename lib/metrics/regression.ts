/** Errors of predicted values, by scikit-learn's definitions: mean squared and absolute error, and R². */

import type { RegressionScores } from "../protocol/models.ts";

export class RegressionTally {
  private count = 0;
  private examples = 0;
  private squares = 0;
  private sizes = 0;
  /** Running mean of the targets and sum of squares around it (Welford). */
  private mean = 0;
  private spread = 0;

  /** Counts a batch: predictions and targets, element by element. */
  add(
    predictions: ArrayLike<number>,
    targets: ArrayLike<number | bigint>,
    examples = predictions.length,
  ): void {
    this.examples += examples;
    for (let i = 0; i < predictions.length; i++) {
      const target = Number(targets[i]!);
      const error = predictions[i]! - target;
      this.squares += error * error;
      this.sizes += Math.abs(error);
      this.count++;
      const delta = target - this.mean;
      this.mean += delta / this.count;
      this.spread += delta * (target - this.mean);
    }
  }

  result(): RegressionScores {
    const { count, squares, sizes, spread } = this;
    const mse = count === 0 ? 0 : squares / count;
    return {
      kind: "regression",
      examples: this.examples,
      loss: mse,
      mae: count === 0 ? 0 : sizes / count,
      rmse: Math.sqrt(mse),
      // Of targets that are all the same nothing can be explained.
      r2: spread === 0 ? null : 1 - squares / spread,
    };
  }
}
