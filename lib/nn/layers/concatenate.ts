/** Concatenate: tensors joined along one axis (Keras's; the last by default); all other sizes are equal. */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { inKerasOrder, type LayerDefinition, type LayerValue } from "../layer.ts";
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
    const mask = joinedMask(c.graph, inputs, along);
    return { value, ...(order && { order }), ...(mask && { mask }) };
  };
};

/**
 * Of [batch, steps, features], as Keras: steps that are joined keep their masks, and a step whose features are joined
 * counts when it counts in any of them. A tensor without a mask counts throughout.
 */
function joinedMask(graph: GraphBuilder, inputs: readonly LayerValue[], along: number): Value | undefined {
  if (inputs.every(({ mask }) => mask === undefined)) return undefined;
  const masks = inputs.map((x) => {
    if (x.value.shape.length !== 3)
      throw new InvalidModelError("inputs", "only [batch, steps, features] are joined where one has a mask");
    return x.mask ?? always(graph, inKerasOrder(graph, x));
  });
  if (along === 1) return graph.op("Concat", masks, { axis: 1 });
  return masks.reduce((left, right) => graph.op("Or", [left, right]));
}

/** BOOL [batch, steps], true; no number is less than itself. */
function always(graph: GraphBuilder, x: Value): Value {
  const cut = graph.op("Slice", [x, graph.ints([0]), graph.ints([1]), graph.ints([2])]);
  const first = graph.op("Squeeze", [cut, graph.ints([2])]);
  return graph.op("Not", [graph.op("Less", [first, first])]);
}
