/**
 * The option `gradient_accumulation_steps` of every optimiser, as Keras defines it: the gradients of so many steps are
 * averaged, and only the last of them updates weights and slots. Clipping, decay and bias corrections go by updates,
 * schedules by steps. What has been added up when a run ends is not used.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import type { Optimizer } from "./optimizer.ts";

const SLOT = "gradient_accumulator";

/** @throws {InvalidModelError} */
export function withAccumulation(optimizer: Optimizer, config: ConfigReader): Optimizer {
  if (config.raw("gradient_accumulation_steps") === undefined) return optimizer;
  const steps = config.integer("gradient_accumulation_steps", { min: 2 });
  const update = (step: number) => Math.ceil(step / steps);
  return {
    ...optimizer,
    slots: [...optimizer.slots, SLOT],
    stepsPerUpdate: steps,
    scalarCount: optimizer.scalarCount + 1,
    scalars: (step, rate) => [...optimizer.scalars(update(step), rate), step % steps === 0 ? 1 : 0],
    update(g, { weights, gradient, slots, scalars, ...state }) {
      const sum = g.op("Add", [gradient, slots.at(-1)!]);
      const next = optimizer.update(g, {
        ...state,
        weights,
        gradient: g.op("Div", [sum, g.scalar(steps)]),
        slots: slots.slice(0, -1),
        scalars: scalars.slice(0, -1),
      });
      const updates = g.op("Greater", [scalars.at(-1)!, g.scalar(0)]);
      return {
        weights: g.op("Where", [updates, next.weights, weights]),
        slots: [
          ...next.slots.map((slot, i) => g.op("Where", [updates, slot, slots[i]!])),
          g.op("Where", [updates, g.scalar(0), sum]),
        ],
      };
    },
  };
}
