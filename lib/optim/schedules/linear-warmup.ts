/**
 * Any rate after a warm-up (arXiv:1706.02677): linearly from initial_learning_rate to the first rate of
 * `learning_rate`, a number or another schedule, in warmup_steps; then that one from its beginning.
 */

import type { ScheduleDefinition } from "./schedule.ts";

export const linearWarmup: ScheduleDefinition = (config, rateOf) => {
  const steps = config.integer("warmup_steps", { min: 1 });
  const initial = config.number("initial_learning_rate", { fallback: 0, min: 0 });
  const after = rateOf(config, "learning_rate");
  const first = after(0);
  return (completed) =>
    completed < steps ? initial + ((first - initial) * completed) / steps : after(completed - steps);
};
