/** The option `learning_rate` of every optimiser: a number, or a Keras schedule object. */

import type { ConfigReader } from "../nn/config-reader.ts";
import { scheduleOf } from "./schedules/table.ts";

/** The rate of step 1, 2, 3 …; Keras's schedules count the steps completed before it. */
export type LearningRate = (step: number) => number;

/** @throws {UnknownComponentError} {InvalidModelError} */
export function learningRateOf(config: ConfigReader, fallback: number): LearningRate {
  const value = config.raw("learning_rate");
  if (typeof value === "object") {
    const schedule = scheduleOf(value, `${config.where}.learning_rate`);
    return (step) => schedule(step - 1);
  }
  const rate = config.number("learning_rate", { fallback, min: 0 });
  return () => rate;
}
