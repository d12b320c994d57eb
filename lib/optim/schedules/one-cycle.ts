/**
 * One cycle (Smith and Topin 2017, arXiv:1708.07120) with PyTorch's definition and options: up from max_lr / div_factor
 * to max_lr in pct_start of total_steps, then down to a final_div_factor-th of where it began; with `three_phase` down
 * to where it began first, in as many steps as up. Constant after total_steps. Refuses phases shorter than a step.
 */

import type { ScheduleDefinition } from "./schedule.ts";

const SHAPES = {
  cos: (from: number, to: number, done: number) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * done)),
  linear: (from: number, to: number, done: number) => from + (to - from) * done,
};

export const oneCycle: ScheduleDefinition = (config) => {
  const peak = config.number("max_lr", { min: 0 });
  const total = config.integer("total_steps", { min: 2 });
  const upShare = config.number("pct_start", { fallback: 0.3, above: 0, below: 1 });
  const begin = peak / config.number("div_factor", { fallback: 25, above: 0 });
  const end = begin / config.number("final_div_factor", { fallback: 1e4, above: 0 });
  const shape = SHAPES[config.choice("anneal_strategy", ["cos", "linear"], "cos")];
  const threePhase = config.boolean("three_phase", false);
  const up = upShare * total - 1;
  // Each phase goes on to its last step.
  const phases = threePhase
    ? [
        { last: up, to: peak },
        { last: 2 * up, to: begin },
        { last: total - 1, to: end },
      ]
    : [
        { last: up, to: peak },
        { last: total - 1, to: end },
      ];
  if (phases.some(({ last }, i) => last <= (phases[i - 1]?.last ?? 0)))
    config.refuse(
      "pct_start",
      upShare,
      `a share of ${total} steps that leaves every phase more than one of them`,
    );
  return (completed) => {
    const step = Math.min(completed, total - 1);
    const at = phases.findIndex(({ last }) => step <= last);
    const { last, to } = phases[at]!;
    const { last: first, to: from } = phases[at - 1] ?? { last: 0, to: begin };
    return shape(from, to, (step - first) / (last - first));
  };
};
