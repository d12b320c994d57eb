/**
 * Half a cosine from the rate down to `alpha` times it in decay_steps, after a linear warm-up from
 * initial_learning_rate to warmup_target in warmup_steps where these are given (keras.io CosineDecay;
 * arXiv:1608.03983, warm-up as arXiv:1706.02677). Refuses warmup_steps without a warmup_target, which Keras ignores.
 */

import type { ScheduleDefinition } from "./schedule.ts";

export const cosineDecay: ScheduleDefinition = (config) => {
  const initial = config.number("initial_learning_rate", { min: 0 });
  const decaySteps = config.number("decay_steps", { above: 0 });
  const alpha = config.number("alpha", { fallback: 0, min: 0, max: 1 });
  const target = config.optionalNumber("warmup_target", { min: 0 });
  const warmupSteps = config.number("warmup_steps", { fallback: 0, min: 0 });
  if (target === undefined && warmupSteps > 0)
    config.refuse("warmup_steps", warmupSteps, "0, or a warmup_target with it");
  const peak = target ?? initial;
  return (completed) => {
    if (completed < warmupSteps) return initial + ((peak - initial) * completed) / warmupSteps;
    const done = Math.min(1, (completed - warmupSteps) / decaySteps);
    return peak * ((1 - alpha) * 0.5 * (1 + Math.cos(Math.PI * done)) + alpha);
  };
};
