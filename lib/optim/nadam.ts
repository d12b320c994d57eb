/**
 * Nadam (Dozat 2016, "Incorporating Nesterov Momentum into Adam") with its momentum schedule
 * µ_t = beta_1 · (1 - 0.96^t / 2), as keras.io/api/optimizers/nadam.
 */

import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

/** 0.96^k is below half a unit in the last place of 1 from here on. */
const WARMED_UP_STEPS = 1000;

/** Element t is the product of 1 - 0.96^k / 2 for k from 1 to t. */
const WARMUP = Array.from({ length: WARMED_UP_STEPS + 1 }, () => 1);
for (let k = 1; k <= WARMED_UP_STEPS; k++) WARMUP[k] = WARMUP[k - 1]! * (1 - 0.5 * 0.96 ** k);

export const nadam: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const beta1 = config.number("beta_1", { fallback: 0.9, min: 0, below: 1 });
  const beta2 = config.number("beta_2", { fallback: 0.999, min: 0, below: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });
  const momentumAt = (step: number) => beta1 * (1 - 0.5 * 0.96 ** step);
  const productTo = (step: number) => beta1 ** step * WARMUP[Math.min(step, WARMED_UP_STEPS)]!;

  return {
    learningRate,
    slots: ["momentum", "velocity"],
    scalarCount: 3,
    scalars: (step, rate) => [
      (rate * momentumAt(step + 1)) / (1 - productTo(step + 1)),
      (rate * (1 - momentumAt(step))) / (1 - productTo(step)),
      1 / Math.sqrt(1 - beta2 ** step),
    ],
    update(g, { weights, gradient, slots, scalars }) {
      const momentum = towards(g, slots[0]!, gradient, g.scalar(1 - beta1));
      const velocity = towards(g, slots[1]!, g.op("Mul", [gradient, gradient]), g.scalar(1 - beta2));
      const ahead = g.op("Add", [g.op("Mul", [momentum, scalars[0]!]), g.op("Mul", [gradient, scalars[1]!])]);
      const scale = g.op("Add", [g.op("Mul", [g.op("Sqrt", [velocity]), scalars[2]!]), g.scalar(epsilon)]);
      return { weights: g.op("Sub", [weights, g.op("Div", [ahead, scale])]), slots: [momentum, velocity] };
    },
  };
};
