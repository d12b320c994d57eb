/** rate · decay_rate^(steps / decay_steps), the exponent rounded down with `staircase` (keras.io ExponentialDecay). */

import type { ScheduleDefinition } from "./schedule.ts";

export const exponentialDecay: ScheduleDefinition = (config) => {
  const initial = config.number("initial_learning_rate", { min: 0 });
  const decaySteps = config.number("decay_steps", { above: 0 });
  const decayRate = config.number("decay_rate", { min: 0 });
  const staircase = config.boolean("staircase", false);
  return (completed) => {
    const periods = completed / decaySteps;
    return initial * decayRate ** (staircase ? Math.floor(periods) : periods);
  };
};
