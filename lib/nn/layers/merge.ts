/**
 * The layers that merge tensors element by element: Add, Subtract, Multiply, Average, Maximum, Minimum. Sizes of 1
 * are spread; a tensor of lower rank gets further axes after the batch, as in Keras.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import { inKerasOrder, type LayerDefinition, type LayerValue, reshapeTo } from "../layer.ts";
import { inOneOrder, listShapes, shapesOf } from "./one-order.ts";

type Merge = (graph: GraphBuilder, values: readonly Value[]) => Value;

function merging(merge: Merge, most?: number): LayerDefinition {
  return () => (c, inputs) => {
    checkBroadcast(shapesOf(inputs, 2, most));
    const { values, order } = inOneOrder(c.graph, raiseRanks(c.graph, inputs));
    const value = merge(c.graph, values);
    return order ? { value, order } : { value };
  };
}

/** From the left, as Keras does: (a ∘ b) ∘ c. */
const chain =
  (op: string): Merge =>
  (graph, values) =>
    values.reduce((left, right) => graph.op(op, [left, right]));

/** @throws {InvalidModelError} with all shapes, when two sizes at one place differ and neither is 1 */
function checkBroadcast(shapes: readonly Dim[][]): void {
  const rank = Math.max(...shapes.map(({ length }) => length));
  for (let fromEnd = 1; fromEnd < rank; fromEnd++) {
    const sizes = new Set(
      shapes.flatMap(([, ...sizes]) => (sizes.length >= fromEnd ? [sizes.at(-fromEnd)!] : [])),
    );
    sizes.delete(1);
    if (sizes.size > 1)
      throw new InvalidModelError("inputs", `shapes ${listShapes(shapes)} do not fit element by element`);
  }
  if (new Set(shapes.map(([batch]) => batch)).size > 1)
    throw new InvalidModelError("inputs", `shapes ${listShapes(shapes)} have different batches`);
}

/** [batch, ...sizes] of lower rank as [batch, 1, ..., ...sizes]. */
function raiseRanks(graph: GraphBuilder, inputs: readonly LayerValue[]): LayerValue[] {
  const rank = Math.max(...inputs.map(({ value }) => value.shape.length));
  return inputs.map((v) => {
    if (v.value.shape.length === rank) return v;
    const value = inKerasOrder(graph, v);
    const [batch, ...sizes] = value.shape;
    const ones = new Array<number>(rank - value.shape.length).fill(1);
    return { value: reshapeTo(graph, value, [batch!, ...ones, ...sizes]) };
  });
}

export const add = merging(chain("Add"));
export const subtract = merging(chain("Sub"), 2);
export const multiply = merging(chain("Mul"));
export const average = merging((graph, values) =>
  graph.op("Mul", [chain("Add")(graph, values), graph.scalar(1 / values.length)]),
);
export const maximum = merging(chain("Max"));
export const minimum = merging(chain("Min"));
