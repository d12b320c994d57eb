/** rate / (1 + decay_rate · steps / decay_steps), the quotient rounded down with `staircase` (keras.io InverseTimeDecay). */

import type { ScheduleDefinition } from "./schedule.ts";

export const inverseTimeDecay: ScheduleDefinition = (config) => {
  const initial = config.number("initial_learning_rate", { min: 0 });
  const decaySteps = config.number("decay_steps", { above: 0 });
  const decayRate = config.number("decay_rate", { min: 0 });
  const staircase = config.boolean("staircase", false);
  return (completed) => {
    const periods = completed / decaySteps;
    return initial / (1 + decayRate * (staircase ? Math.floor(periods) : periods));
  };
};
