/** The option `learning_rate` of every optimiser: a number, or a Keras schedule object. */

import type { ConfigReader } from "../nn/config-reader.ts";
import { scheduleOf } from "./schedules/table.ts";

export type LearningRate = {
  /** The rate of step 1, 2, 3 …; Keras's schedules count the steps completed before it. */
  at(step: number): number;
  /** Whether it is a schedule; a plain number may be changed while a run goes on. */
  scheduled: boolean;
};

/** @throws {UnknownComponentError} {InvalidModelError} */
export function learningRateOf(config: ConfigReader, fallback: number): LearningRate {
  const value = config.raw("learning_rate");
  if (typeof value === "object") {
    const schedule = scheduleOf(value, `${config.where}.learning_rate`);
    return { at: (step) => schedule(step - 1), scheduled: true };
  }
  const rate = config.number("learning_rate", { fallback, min: 0 });
  return { at: () => rate, scheduled: false };
}
