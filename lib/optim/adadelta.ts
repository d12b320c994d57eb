/** Adadelta (Zeiler 2012, arXiv:1212.5701) with a learning rate, as keras.io/api/optimizers/adadelta. */

import type { Value } from "../onnx/builder.ts";
import { learningRateOf } from "./learning-rate.ts";
import { towards } from "./moving-mean.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const adadelta: OptimizerDefinition = (config) => {
  const learningRate = learningRateOf(config, 0.001);
  const rho = config.number("rho", { fallback: 0.95, min: 0, below: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-7, min: 0 });

  return {
    learningRate,
    slots: ["accumulated_grad", "accumulated_delta_var"],
    scalarCount: 1,
    scalars: (_step, rate) => [rate],
    update(g, { weights, gradient, slots, scalars }) {
      const [gradients, changes] = slots as [Value, Value];
      const share = g.scalar(1 - rho);
      const root = (squares: Value) => g.op("Sqrt", [g.op("Add", [squares, g.scalar(epsilon)])]);
      const squares = towards(g, gradients, g.op("Mul", [gradient, gradient]), share);
      const change = g.op("Div", [g.op("Mul", [root(changes), gradient]), root(squares)]);
      return {
        weights: g.op("Sub", [weights, g.op("Mul", [change, scalars[0]!])]),
        slots: [squares, towards(g, changes, g.op("Mul", [change, change]), share)],
      };
    },
  };
};
