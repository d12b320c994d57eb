/** Sums of what steps report (see objective.ts) over the batches of an epoch or a validation pass, and their means. */

import type { OutputScore } from "../protocol/jobs.ts";
import { MEASURES_PER_OUTPUT } from "./objective.ts";

/** Plain data, as a snapshot of a run keeps it. */
export type Sums = {
  /** Examples so far. */
  seen: number;
  /** Of the total loss. */
  loss: number;
  /** Three for each output, as a step measures them. */
  measures: number[];
};

/** What one step reports; `measures` may be overwritten by the next. */
export type StepResult = { loss: number; measures: Float32Array };

/** The total loss; the accuracy of the only output, if it has one; each output where there are several. */
export type Means = OutputScore & { outputs?: Record<string, OutputScore> };

export type MeasuredOutput = { name: string; isClasses: boolean };

export function noSums(): Sums {
  return { seen: 0, loss: 0, measures: [] };
}

/** Adds a batch's mean losses, each times its number of examples, and its counts. */
export function addStep(sums: Sums, { loss, measures }: StepResult, examples: number): void {
  sums.seen += examples;
  sums.loss += loss * examples;
  for (let i = 0; i < measures.length; i++) {
    const share = i % MEASURES_PER_OUTPUT === 0 ? examples : 1;
    sums.measures[i] = (sums.measures[i] ?? 0) + measures[i]! * share;
  }
}

export function meansOf({ seen, loss, measures }: Sums, outputs: readonly MeasuredOutput[]): Means {
  const each = outputs.map(({ name, isClasses }, k): [string, OutputScore] => {
    const [sum, right, positions] = measures.slice(k * MEASURES_PER_OUTPUT);
    const mean = sum! / seen;
    return [name, isClasses ? { loss: mean, accuracy: right! / positions! } : { loss: mean }];
  });
  if (each.length === 1) return { ...each[0]![1], loss: loss / seen };
  return { loss: loss / seen, outputs: Object.fromEntries(each) };
}
