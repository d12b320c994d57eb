/**
 * Cosine decay that starts anew: period i lasts first_decay_steps · t_mul^i and begins at rate · m_mul^i (keras.io
 * CosineDecayRestarts; arXiv:1608.03983). Refuses t_mul below 1: the periods' sum ends, and Keras gives NaN after it.
 */

import type { ScheduleDefinition } from "./schedule.ts";

export const cosineDecayRestarts: ScheduleDefinition = (config) => {
  const initial = config.number("initial_learning_rate", { min: 0 });
  const firstSteps = config.number("first_decay_steps", { above: 0 });
  const periodGrowth = config.number("t_mul", { fallback: 2, min: 1 });
  const rateGrowth = config.number("m_mul", { fallback: 1, min: 0 });
  const alpha = config.number("alpha", { fallback: 0, min: 0, max: 1 });
  const period = periodOf(periodGrowth);
  return (completed) => {
    const { restart, done } = period(completed / firstSteps);
    const cosine = 0.5 * rateGrowth ** restart * (1 + Math.cos(Math.PI * done));
    return initial * ((1 - alpha) * cosine + alpha);
  };
};

/** Which period a time lies in, in units of the first one, and what share of it has passed. */
function periodOf(growth: number): (time: number) => { restart: number; done: number } {
  if (growth === 1) return (time) => ({ restart: Math.floor(time), done: time - Math.floor(time) });
  const startOf = (restart: number) => (growth ** restart - 1) / (growth - 1);
  return (time) => {
    let restart = Math.floor(Math.log(1 + time * (growth - 1)) / Math.log(growth));
    // At a restart the quotient of logarithms may fall just short of the whole number.
    if (time >= startOf(restart + 1)) restart++;
    return { restart, done: (time - startOf(restart)) / growth ** restart };
  };
}
