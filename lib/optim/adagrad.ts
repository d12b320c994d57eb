/** Adagrad (Duchi et al. 2011, JMLR 12) with Keras's initial accumulator; keras.io/api/optimizers/adagrad. */

import { learningRateOf } from "./learning-rate.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const adagrad: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const initial = config.number("initial_accumulator_value", { fallback: 0.1, min: 0 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });

  return {
    learningRate,
    slots: ["accumulator"],
    initialSlots: { accumulator: initial },
    scalarCount: 1,
    scalars: (_step, rate) => [rate],
    update(g, { weights, gradient, slots, scalars }) {
      const accumulator = g.op("Add", [slots[0]!, g.op("Mul", [gradient, gradient])]);
      const root = g.op("Sqrt", [g.op("Add", [accumulator, g.scalar(epsilon)])]);
      const step = g.op("Div", [g.op("Mul", [gradient, scalars[0]!]), root]);
      return { weights: g.op("Sub", [weights, step]), slots: [accumulator] };
    },
  };
};
