/**
 * Every learning-rate schedule, by its Keras name where Keras has it. To add one: a file beside this one and an entry
 * here.
 */

import { ConfigReader, kerasObject, lookUp } from "../../nn/config-reader.ts";
import { cosineDecay } from "./cosine-decay.ts";
import { cosineDecayRestarts } from "./cosine-decay-restarts.ts";
import { exponentialDecay } from "./exponential-decay.ts";
import { inverseTimeDecay } from "./inverse-time-decay.ts";
import { linearWarmup } from "./linear-warmup.ts";
import { oneCycle } from "./one-cycle.ts";
import { piecewiseConstantDecay } from "./piecewise-constant-decay.ts";
import { polynomialDecay } from "./polynomial-decay.ts";
import type { Schedule, ScheduleDefinition } from "./schedule.ts";

export const SCHEDULES: Readonly<Record<string, ScheduleDefinition>> = {
  CosineDecay: cosineDecay,
  CosineDecayRestarts: cosineDecayRestarts,
  ExponentialDecay: exponentialDecay,
  InverseTimeDecay: inverseTimeDecay,
  LinearWarmup: linearWarmup,
  OneCycle: oneCycle,
  PiecewiseConstantDecay: piecewiseConstantDecay,
  PolynomialDecay: polynomialDecay,
};

/**
 * Reads `{class_name: "CosineDecay", config: {…}}`.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
export function scheduleOf(value: unknown, where: string): Schedule {
  const object = kerasObject(value, where);
  const definition = lookUp(SCHEDULES, "learning-rate schedule", object.class_name);
  const config = new ConfigReader(where, object.config);
  const schedule = definition(config, rateOf);
  config.ignore("name");
  config.done();
  return schedule;
}

/**
 * The rate an option states: a number, or a schedule.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
function rateOf(config: ConfigReader, option: string): Schedule {
  const value = config.raw(option);
  if (typeof value === "object") return scheduleOf(value, `${config.where}.${option}`);
  const rate = config.number(option, { min: 0 });
  return () => rate;
}
