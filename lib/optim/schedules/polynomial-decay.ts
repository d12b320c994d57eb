/**
 * (rate - end) · (1 - steps / decay_steps)^power + end, constant after decay_steps; with `cycle` decay_steps grows
 * to its first multiple not below the step (keras.io PolynomialDecay).
 */

import type { ScheduleDefinition } from "./schedule.ts";

export const polynomialDecay: ScheduleDefinition = (config) => {
  const initial = config.number("initial_learning_rate", { min: 0 });
  const decaySteps = config.number("decay_steps", { above: 0 });
  const end = config.number("end_learning_rate", { fallback: 0.0001, min: 0 });
  const power = config.number("power", { fallback: 1, min: 0 });
  const cycle = config.boolean("cycle", false);
  return (completed) => {
    const cycles = cycle ? Math.max(1, Math.ceil(completed / decaySteps)) : 1;
    const done = Math.min(1, completed / (decaySteps * cycles));
    return (initial - end) * (1 - done) ** power + end;
  };
};
