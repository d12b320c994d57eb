/** Stochastic gradient descent with momentum and Nesterov momentum, as keras.io/api/optimizers/sgd. */

import { learningRateOf } from "./learning-rate.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const sgd: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.01);
  const momentum = config.number("momentum", { fallback: 0, min: 0, max: 1 });
  const nesterov = config.boolean("nesterov", false);

  return {
    learningRate,
    slots: momentum > 0 ? ["momentum"] : [],
    scalarCount: 1,
    scalars: (_step, rate) => [rate],
    update(g, { weights, gradient, slots, scalars }) {
      const step = g.op("Mul", [gradient, scalars[0]!]);
      if (momentum === 0) return { weights: g.op("Sub", [weights, step]), slots: [] };
      const velocity = g.op("Sub", [g.op("Mul", [slots[0]!, g.scalar(momentum)]), step]);
      const move = nesterov ? g.op("Sub", [g.op("Mul", [velocity, g.scalar(momentum)]), step]) : velocity;
      return { weights: g.op("Add", [weights, move]), slots: [velocity] };
    },
  };
};
