/**
 * The option `weight_decay` of every optimiser: decoupled from the gradient (arXiv:1711.05101), as Keras applies it
 * to every trained weight: w -= w · weight_decay · learning rate, before the update.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import type { Optimizer } from "./optimizer.ts";

/** @throws {InvalidModelError} */
export function withWeightDecay(optimizer: Optimizer, config: ConfigReader): Optimizer {
  const decay = config.number("weight_decay", { fallback: optimizer.defaultWeightDecay ?? 0, min: 0 });
  if (decay === 0) return optimizer;
  return {
    ...optimizer,
    scalarCount: optimizer.scalarCount + 1,
    scalars: (step, rate) => [...optimizer.scalars(step, rate), decay * rate],
    update(g, { weights, scalars, ...state }) {
      const lost = g.op("Mul", [weights, scalars.at(-1)!]);
      const decayed = g.op("Sub", [weights, lost]);
      return optimizer.update(g, { ...state, weights: decayed, scalars: scalars.slice(0, -1) });
    },
  };
}
