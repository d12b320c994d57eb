/**
 * The layers that merge tensors element by element: Add, Subtract, Multiply, Average, Maximum, Minimum. Sizes of 1
 * are spread; a tensor of lower rank gets further axes after the batch, as in Keras. Masks of all inputs are joined;
 * Multiply, Maximum and Minimum leave out what a mask says does not count, as Keras 3 does.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import { inKerasOrder, inOrder, type LayerDefinition, type LayerValue, reshapeTo } from "../layer.ts";
import { inOneOrder, listShapes, shapesOf } from "./one-order.ts";

type Merge = (graph: GraphBuilder, values: readonly Value[]) => Value;

/** `counts`: BOOL of each tensor, which spreads to it, where it has a mask; at least one has. */
type MaskedMerge = (
  graph: GraphBuilder,
  values: readonly Value[],
  counts: readonly (Value | undefined)[],
) => Value;

/** `masked` is for merges that leave out what does not count. */
function merging(merge: Merge, options: { most?: number; masked?: MaskedMerge } = {}): LayerDefinition {
  const { most, masked } = options;
  return () => (c, inputs) => {
    checkBroadcast(shapesOf(inputs, 2, most));
    const { values, order } = inOneOrder(c.graph, raiseRanks(c.graph, inputs));
    const counts = inputs.map(({ mask }, i) => mask && besideValue(c.graph, mask, values[i]!, order));
    const leavesOut = masked && counts.some((count) => count !== undefined);
    const value = leavesOut ? masked(c.graph, values, counts) : merge(c.graph, values);
    const mask = eitherMask(c.graph, inputs);
    return { value, ...(order && { order }), ...(mask && { mask }) };
  };
}

/** The mask as BOOL that spreads over the features of the value. @throws {InvalidModelError} when it does not fit */
function besideValue(
  graph: GraphBuilder,
  mask: Value,
  value: Value,
  order: readonly number[] | undefined,
): Value {
  if (mask.shape.length !== value.shape.length - 1)
    throw new InvalidModelError("inputs", "a mask has one axis less than what it is of");
  return inOrder(graph, { value: reshapeTo(graph, mask, [...mask.shape, 1]) }, order);
}

/** Factors that do not count are 1; a product of none is 0. */
const product: MaskedMerge = (graph, values, counts) => {
  const factors = values.map((value, i) =>
    counts[i] ? graph.op("Where", [counts[i], value, graph.scalar(1)]) : value,
  );
  const value = chain("Mul")(graph, factors);
  const known = counts.filter((count) => count !== undefined);
  if (known.length < values.length) return value;
  return graph.op("Where", [chain("Or")(graph, known), value, graph.scalar(0)]);
};

/** From the left, what does not count gives way to the other. */
const extreme =
  (op: string): MaskedMerge =>
  (graph, [first, ...values], [firstCounts, ...counts]) => {
    let [value, counted] = [first!, firstCounts];
    values.forEach((given, i) => {
      const count = counts[i];
      const other = count ? graph.op("Where", [count, given, value]) : given;
      const kept = counted ? graph.op("Where", [counted, value, other]) : value;
      value = graph.op(op, [kept, other]);
      counted = counted && count ? graph.op("Or", [counted, count]) : undefined;
    });
    return value;
  };

/** A step counts when it counts in any tensor; all of them when one has no mask. */
function eitherMask(graph: GraphBuilder, inputs: readonly LayerValue[]): Value | undefined {
  const masks = inputs.map(({ mask }) => mask);
  if (!masks.every((mask) => mask !== undefined)) return undefined;
  return masks.reduce((left, right) => graph.op("Or", [left, right]));
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
export const subtract = merging(chain("Sub"), { most: 2 });
export const multiply = merging(chain("Mul"), { masked: product });
export const average = merging((graph, values) =>
  graph.op("Mul", [chain("Add")(graph, values), graph.scalar(1 / values.length)]),
);
export const maximum = merging(chain("Max"), { masked: extreme("Max") });
export const minimum = merging(chain("Min"), { masked: extreme("Min") });
