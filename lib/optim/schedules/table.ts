/** Every learning-rate schedule, by its Keras name. To add one: a file beside this one and an entry here. */

import { ConfigReader, kerasObject, lookUp } from "../../nn/config-reader.ts";
import { cosineDecay } from "./cosine-decay.ts";
import { cosineDecayRestarts } from "./cosine-decay-restarts.ts";
import { exponentialDecay } from "./exponential-decay.ts";
import { inverseTimeDecay } from "./inverse-time-decay.ts";
import { piecewiseConstantDecay } from "./piecewise-constant-decay.ts";
import { polynomialDecay } from "./polynomial-decay.ts";
import type { Schedule, ScheduleDefinition } from "./schedule.ts";

export const SCHEDULES: Readonly<Record<string, ScheduleDefinition>> = {
  CosineDecay: cosineDecay,
  CosineDecayRestarts: cosineDecayRestarts,
  ExponentialDecay: exponentialDecay,
  InverseTimeDecay: inverseTimeDecay,
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
  const schedule = definition(config);
  config.ignore("name");
  config.done();
  return schedule;
}
