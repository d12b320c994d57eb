/** Concatenate: tensors joined along one axis (Keras's; the last by default); all other sizes are equal. */

import { InvalidModelError } from "../../errors.ts";
import type { LayerDefinition } from "../layer.ts";
import { inOneOrder, listShapes, shapesOf } from "./one-order.ts";

export const concatenate: LayerDefinition = (config) => {
  const given = config.raw("axis") ?? -1;
  if (!Number.isSafeInteger(given)) config.refuse("axis", given, "one axis");
  const axis = given as number;

  return (c, inputs) => {
    const shapes = shapesOf(inputs, 2);
    const rank = shapes[0]!.length;
    const along = axis < 0 ? axis + rank : axis;
    if (along < 1 || along >= rank)
      throw new InvalidModelError(
        "axis",
        `received ${axis}, expected an axis of [${shapes[0]!.join(",")}] after the batch`,
      );
    const fit = shapes.every(
      (shape) => shape.length === rank && shape.every((size, i) => i === along || size === shapes[0]![i]),
    );
    if (!fit)
      throw new InvalidModelError(
        "inputs",
        `shapes ${listShapes(shapes)} cannot be joined along axis ${along}`,
      );
    const { values, order } = inOneOrder(c.graph, inputs);
    const value = c.graph.op("Concat", values, { axis: order ? order.indexOf(along) : along });
    return order ? { value, order } : { value };
  };
};
