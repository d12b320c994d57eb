/** Layers whose outputs are penalised: Keras's `activity_regularizer`. */

import { InvalidModelError } from "../errors.ts";
import { type ApplyLayer, kerasShape } from "./layer.ts";
import type { Regularizer } from "./regularizers.ts";

/** The layer with a penalty on each of its outputs, by the size of the batch, as Keras has it. */
export function penalised(apply: ApplyLayer, penalty: Regularizer): ApplyLayer {
  return (c, inputs, call) => {
    const given = apply(c, inputs, call);
    for (const output of Array.isArray(given) ? given : [given])
      c.penalise(() => {
        const [batch] = kerasShape(output);
        const { value, order } = output;
        const total = penalty(c.graph, value, order);
        if (typeof batch !== "number") throw new InvalidModelError("input", "a loss needs a fixed batch");
        return total && c.graph.op("Mul", [total, c.graph.scalar(1 / batch)]);
      });
    return given;
  };
}
