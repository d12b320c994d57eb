/** Losses of the difference between outputs and targets, averaged over outputs and batch. */

import { elementwise, type LossDefinition } from "./loss.ts";

/** e² */
export const meanSquaredError: LossDefinition = () =>
  elementwise((g, prediction, target) => {
    const error = g.op("Sub", [prediction, target]);
    return g.op("Mul", [error, error]);
  });

/** |e| */
export const meanAbsoluteError: LossDefinition = () =>
  elementwise((g, prediction, target) => g.op("Abs", [g.op("Sub", [prediction, target])]));

/** e²/2 up to δ, and beyond it the straight line δ|e| - δ²/2 that goes on from there (Huber 1964). */
export const huber: LossDefinition = (config) => {
  const delta = config.number("delta", { fallback: 1, min: 0 });
  return elementwise((g, prediction, target) => {
    const error = g.op("Sub", [prediction, target]);
    const size = g.op("Abs", [error]);
    return g.op("Where", [
      g.op("LessOrEqual", [size, g.scalar(delta)]),
      g.op("Mul", [g.op("Mul", [error, error]), g.scalar(0.5)]),
      g.op("Sub", [g.op("Mul", [size, g.scalar(delta)]), g.scalar(0.5 * delta ** 2)]),
    ]);
  });
};

/** log cosh e = |e| + softplus(-2|e|) - log 2: no exponential that overflows. */
export const logCosh: LossDefinition = () =>
  elementwise((g, prediction, target) => {
    const size = g.op("Abs", [g.op("Sub", [prediction, target])]);
    const rest = g.op("Softplus", [g.op("Mul", [size, g.scalar(-2)])]);
    return g.op("Sub", [g.op("Add", [size, rest]), g.scalar(Math.LN2)]);
  });
