/** Lion (Chen et al. 2023, arXiv:2302.06675): the sign of an interpolated momentum; keras.io/api/optimizers/lion. */

import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const lion: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const beta1 = config.number("beta_1", { fallback: 0.9, above: 0, max: 1 });
  const beta2 = config.number("beta_2", { fallback: 0.99, min: 0, below: 1 });

  return {
    learningRate,
    slots: ["momentum"],
    scalarCount: 1,
    scalars: (_step, rate) => [rate],
    update(g, { weights, gradient, slots, scalars }) {
      const momentum = slots[0]!;
      const direction = g.op("Sign", [towards(g, momentum, gradient, g.scalar(1 - beta1))]);
      return {
        weights: g.op("Sub", [weights, g.op("Mul", [direction, scalars[0]!])]),
        slots: [towards(g, momentum, gradient, g.scalar(1 - beta2))],
      };
    },
  };
};
