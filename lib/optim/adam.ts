/**
 * Adam (Kingma and Ba 2014, arXiv:1412.6980) in Keras's form: epsilon is added after the bias correction. With
 * `amsgrad` the second moment never shrinks (Reddi et al. 2018, arXiv:1904.09237).
 */

import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const adam: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const beta1 = config.number("beta_1", { fallback: 0.9, min: 0, below: 1 });
  const beta2 = config.number("beta_2", { fallback: 0.999, min: 0, below: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });
  const amsgrad = config.boolean("amsgrad", false);

  return {
    learningRate,
    slots: amsgrad ? ["momentum", "velocity", "velocity_hat"] : ["momentum", "velocity"],
    scalarCount: 1,
    scalars: (step, rate) => [(rate * Math.sqrt(1 - beta2 ** step)) / (1 - beta1 ** step)],
    update(g, { weights, gradient, slots, scalars }) {
      const momentum = towards(g, slots[0]!, gradient, g.scalar(1 - beta1));
      const velocity = towards(g, slots[1]!, g.op("Mul", [gradient, gradient]), g.scalar(1 - beta2));
      const next = [momentum, velocity];
      if (amsgrad) next.push(g.op("Max", [slots[2]!, velocity]));
      const step = g.op("Div", [
        g.op("Mul", [momentum, scalars[0]!]),
        g.op("Add", [g.op("Sqrt", [next.at(-1)!]), g.scalar(epsilon)]),
      ]);
      return { weights: g.op("Sub", [weights, step]), slots: next };
    },
  };
};
