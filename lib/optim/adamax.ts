/** Adamax, Adam by the infinity norm (section 7.1 of arXiv:1412.6980), as keras.io/api/optimizers/adamax. */

import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const adamax: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const beta1 = config.number("beta_1", { fallback: 0.9, min: 0, below: 1 });
  const beta2 = config.number("beta_2", { fallback: 0.999, min: 0, below: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });

  return {
    learningRate,
    slots: ["momentum", "norm"],
    scalarCount: 1,
    scalars: (step, rate) => [rate / (1 - beta1 ** step)],
    update(g, { weights, gradient, slots, scalars }) {
      const momentum = towards(g, slots[0]!, gradient, g.scalar(1 - beta1));
      const norm = g.op("Max", [g.op("Mul", [slots[1]!, g.scalar(beta2)]), g.op("Abs", [gradient])]);
      const step = g.op("Div", [
        g.op("Mul", [momentum, scalars[0]!]),
        g.op("Add", [norm, g.scalar(epsilon)]),
      ]);
      return { weights: g.op("Sub", [weights, step]), slots: [momentum, norm] };
    },
  };
};
