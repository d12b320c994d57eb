/**
 * RMSprop (Hinton, Neural Networks for Machine Learning, lecture 6e) with Keras's momentum, and `centered` by the
 * gradient's mean (Graves 2013, arXiv:1308.0850); keras.io/api/optimizers/rmsprop.
 */

import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const rmsprop: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const rho = config.number("rho", { fallback: 0.9, min: 0, below: 1 });
  const momentum = config.number("momentum", { fallback: 0, min: 0, max: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });
  const centered = config.boolean("centered", false);
  const slotNames = [
    "velocity",
    ...(momentum > 0 ? ["momentum"] : []),
    ...(centered ? ["average_gradient"] : []),
  ];

  return {
    learningRate,
    slots: slotNames,
    scalarCount: 1,
    scalars: (_step, rate) => [rate],
    update(g, { weights, gradient, slots, scalars }) {
      const share = g.scalar(1 - rho);
      const velocity = towards(g, slots[0]!, g.op("Mul", [gradient, gradient]), share);
      const next = [velocity];
      let spread = velocity;
      let average = velocity;
      if (centered) {
        average = towards(g, slots.at(-1)!, gradient, share);
        // A variance that is nought may come out just below it, and its root would be no number.
        const variance = g.op("Sub", [velocity, g.op("Mul", [average, average])]);
        spread = g.op("Max", [variance, g.scalar(0)]);
      }
      const root = g.op("Sqrt", [g.op("Add", [spread, g.scalar(epsilon)])]);
      let step = g.op("Div", [g.op("Mul", [gradient, scalars[0]!]), root]);
      if (momentum > 0) {
        step = g.op("Add", [g.op("Mul", [slots[1]!, g.scalar(momentum)]), step]);
        next.push(step);
      }
      if (centered) next.push(average);
      return { weights: g.op("Sub", [weights, step]), slots: next };
    },
  };
};
