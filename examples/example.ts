/**
 * What an example is: it makes a data set from real data, trains a declared network on it through the services, and
 * says how it did against a number that was set beforehand.
 */

import { ExecutionError } from "../lib/errors.ts";
import type { ActionParams } from "../lib/protocol/actions.ts";
import type {
  ClassificationScores,
  Evaluation,
  Lineage,
  ModelVersion,
  RegressionScores,
} from "../lib/protocol/models.ts";

export type Outcome = {
  /** Where the examples come from, how many train and test, and how they were parted. */
  data: { source: string; train: number; test: number; split: string };
  scores: Record<string, number>;
  /** What the scores should be. */
  aim: string;
  holds: boolean;
};

export type ExampleSession = {
  /** On a slice, with an aim to match: a test that everything works, in seconds. */
  smoke: boolean;
  /** Where prepared data sets are written, each a folder by its name. */
  datasetsDirectory: string;
  /** Trains, converts, evaluates and publishes, and shows each epoch. @throws {ExecutionError} when the job fails */
  train(request: ActionParams<"trainer.start">): Promise<ModelVersion>;
  /** Prints a line about what happens. */
  say(text: string): void;
};

export type Example = {
  /** What it learns, in a few words. */
  title: string;
  run(session: ExampleSession): Promise<Outcome>;
};

/** The scores of a model that tells classes apart. @throws {ExecutionError} */
export function classificationOf(metrics: Evaluation | undefined): ClassificationScores {
  if (metrics?.kind === "classification") return metrics;
  throw new ExecutionError("The evaluation", `it scored ${metrics?.kind ?? "nothing"}, not classes`);
}

/** The scores of a model that gives values. @throws {ExecutionError} */
export function regressionOf(metrics: Evaluation | undefined): RegressionScores {
  if (metrics?.kind === "regression") return metrics;
  throw new ExecutionError("The evaluation", `it scored ${metrics?.kind ?? "nothing"}, not values`);
}

/** How many examples a version learned from and was scored on. */
export function countsOf(lineage: Lineage | undefined): { train: number; test: number } {
  const { trainExamples = 0, testExamples = 0 } = lineage?.dataset ?? {};
  return { train: trainExamples, test: testExamples };
}
