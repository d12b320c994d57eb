/**
 * The options `use_ema`, `ema_momentum` and `ema_overwrite_frequency` of every optimiser, as Keras defines them: the
 * slot "average" follows the weights after each step (and is them after the first); every so many steps, if asked,
 * the weights are set to it; and a run that has ended takes it for its weights. Until then training and validation
 * go by the weights themselves, as Keras's fit does.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import { towards } from "./moving-mean.ts";
import type { Optimizer } from "./optimizer.ts";

const SLOT = "average";

/** @throws {InvalidModelError} */
export function withWeightAverage(optimizer: Optimizer, config: ConfigReader): Optimizer {
  if (!config.boolean("use_ema", false)) {
    config.ignore("ema_momentum", "ema_overwrite_frequency");
    return optimizer;
  }
  const momentum = config.number("ema_momentum", { fallback: 0.99, min: 0, max: 1 });
  const everySteps = config.integer("ema_overwrite_frequency", { fallback: 0, min: 0 });
  // As in Keras, each of the steps that make up an update counts as that update.
  const update = (step: number) => Math.ceil(step / (optimizer.stepsPerUpdate ?? 1));
  const overwrites = (step: number) => (update(step) % everySteps === 0 ? 1 : 0);
  const own = optimizer.scalarCount;
  return {
    ...optimizer,
    slots: [...optimizer.slots, SLOT],
    finalWeights: SLOT,
    scalarCount: own + (everySteps > 0 ? 2 : 1),
    scalars: (step, rate) => [
      ...optimizer.scalars(step, rate),
      update(step) === 1 ? 1 : 1 - momentum,
      ...(everySteps > 0 ? [overwrites(step)] : []),
    ],
    update(g, { slots, scalars, ...state }) {
      const next = optimizer.update(g, {
        ...state,
        slots: slots.slice(0, -1),
        scalars: scalars.slice(0, own),
      });
      const average = towards(g, slots.at(-1)!, next.weights, scalars[own]!);
      const weights =
        everySteps > 0
          ? g.op("Where", [g.op("Greater", [scalars[own + 1]!, g.scalar(0)]), average, next.weights])
          : next.weights;
      return { weights, slots: [...next.slots, average] };
    },
  };
}
