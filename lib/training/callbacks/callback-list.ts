/**
 * The callbacks of a run, in their order, with the weights that they had it keep. Refuses a callback that goes by a
 * figure which the run does not have, or that would change a rate which a schedule sets.
 */

import { InvalidInputError, InvalidModelError } from "../../errors.ts";
import type { LearningRate } from "../../optim/learning-rate.ts";
import type { EpochRecord, OutputScore } from "../../protocol/jobs.ts";
import type { Callback, CallbackState, Logs, RunControl } from "./callback.ts";
import { callbackOf } from "./table.ts";

export type KeptWeights = { weights: Float32Array; statistics: Float32Array };

/** As a snapshot of a run keeps them, one entry a callback. */
export type CallbacksSnapshot = { state: CallbackState; kept: KeptWeights | null }[];

/** What a run lets its callbacks do. */
export type CallbackHost = Omit<RunControl, "keepWeights"> & {
  /** Copies. */
  currentWeights(): KeptWeights;
};

export class CallbackList {
  private readonly entries: { callback: Callback; kept: KeptWeights | null }[];

  /** @throws {InvalidInputError} {InvalidModelError} {UnknownComponentError} naming the callback */
  constructor(declared: readonly unknown[], learningRate: LearningRate) {
    this.entries = declared.map((value, i) => {
      const callback = callbackOf(value, `callbacks[${i}]`);
      if (callback.setsRate && learningRate.scheduled)
        throw new InvalidInputError({
          field: `callbacks[${i}]`,
          received: "a callback that sets the learning rate, beside a schedule",
          expected: "a number for the optimizer's learning_rate: a schedule would overrule it",
        });
      return { callback, kept: null };
    });
  }

  /** @throws {InvalidInputError} naming the first callback that goes by none of `figures` */
  assertMonitored(figures: readonly string[]): void {
    for (const [i, { callback }] of this.entries.entries())
      if (callback.monitor !== undefined && !figures.includes(callback.monitor))
        throw new InvalidInputError({
          field: `callbacks[${i}].monitor`,
          received: JSON.stringify(callback.monitor),
          expected: `one of ${figures.join(", ")}: the figures this run has`,
        });
  }

  epochEnded(record: EpochRecord, host: CallbackHost): void {
    const logs = logsOf(record);
    for (const entry of this.entries)
      entry.callback.epochEnded(record.epoch, logs, {
        ...host,
        keepWeights() {
          entry.kept = host.currentWeights();
        },
      });
  }

  /** What a run that has ended takes for its weights; undefined: those it has. */
  finalWeights(): KeptWeights | undefined {
    return this.entries.findLast(({ callback, kept }) => callback.restoresKept && kept)?.kept ?? undefined;
  }

  snapshot(): CallbacksSnapshot {
    return this.entries.map(({ callback, kept }) => ({ state: callback.state(), kept }));
  }

  /** @throws {InvalidModelError} when the snapshot is of other callbacks */
  restore(snapshot: CallbacksSnapshot): void {
    if (snapshot.length !== this.entries.length)
      throw new InvalidModelError(
        "callbacks",
        `received the state of ${snapshot.length}, expected ${this.entries.length}`,
      );
    for (const [i, { state, kept }] of snapshot.entries()) {
      this.entries[i]!.callback.restore(state);
      this.entries[i]!.kept = kept;
    }
  }
}

/** Names of an epoch's figures, for outputs of which some are compared with classes. */
export function figuresOf(
  outputs: readonly { name: string; isClasses: boolean }[],
  validated: boolean,
): string[] {
  const [only, ...others] = outputs;
  const names =
    only && others.length === 0
      ? ["loss", ...(only.isClasses ? ["accuracy"] : [])]
      : [
          "loss",
          ...outputs.flatMap(({ name, isClasses }) => [
            `${name}_loss`,
            ...(isClasses ? [`${name}_accuracy`] : []),
          ]),
        ];
  return validated ? [...names, ...names.map((name) => `val_${name}`)] : names;
}

function logsOf(record: EpochRecord): Logs {
  const { loss, accuracy, outputs, validationLoss, validationAccuracy, validationOutputs } = record;
  const logs: Record<string, number> = {};
  const add = (name: string, value: number | undefined) => {
    if (value !== undefined) logs[name] = value;
  };
  const addOutputs = (prefix: string, scores: Record<string, OutputScore> = {}) => {
    for (const [name, score] of Object.entries(scores)) {
      add(`${prefix}${name}_loss`, score.loss);
      add(`${prefix}${name}_accuracy`, score.accuracy);
    }
  };
  add("loss", loss);
  add("accuracy", accuracy);
  addOutputs("", outputs);
  add("val_loss", validationLoss);
  add("val_accuracy", validationAccuracy);
  addOutputs("val_", validationOutputs);
  return logs;
}
