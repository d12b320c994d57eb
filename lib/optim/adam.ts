/** Adam (Kingma and Ba 2014, arXiv:1412.6980) in Keras's form: epsilon is added after the bias correction. */

import type { OptimizerDefinition } from "./optimizer.ts";

export const adam: OptimizerDefinition = (config) => {
  const learningRate = config.number("learning_rate", { fallback: 0.001, min: 0 });
  const beta1 = config.number("beta_1", { fallback: 0.9, min: 0, below: 1 });
  const beta2 = config.number("beta_2", { fallback: 0.999, min: 0, below: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });
  config.unset("amsgrad", false);

  return {
    slots: ["momentum", "velocity"],
    scalarCount: 1,
    scalars: (step) => [(learningRate * Math.sqrt(1 - beta2 ** step)) / (1 - beta1 ** step)],
    update(g, { weights, gradient, slots, scalars }) {
      const [m, v] = slots as [typeof gradient, typeof gradient];
      const towards = (from: typeof gradient, to: typeof gradient, share: number) =>
        g.op("Add", [from, g.op("Mul", [g.op("Sub", [to, from]), g.scalar(share)])]);
      const momentum = towards(m, gradient, 1 - beta1);
      const velocity = towards(v, g.op("Mul", [gradient, gradient]), 1 - beta2);
      const step = g.op("Div", [
        g.op("Mul", [momentum, scalars[0]!]),
        g.op("Add", [g.op("Sqrt", [velocity]), g.scalar(epsilon)]),
      ]);
      return { weights: g.op("Sub", [weights, step]), slots: [momentum, velocity] };
    },
  };
};
