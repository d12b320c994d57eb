/**
 * Dot: products of two tensors summed along one axis of each, example by example. [batch, a..., k, ...] and
 * [batch, b..., k, ...] give [batch, a..., b...]; two vectors give [batch, 1]. With `normalize` both are first
 * divided by their length along that axis, vectors shorter than Keras's epsilon of 1e-7 by the epsilon.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import { inOrder, type LayerContext, type LayerDefinition, type LayerValue, reshapeTo } from "../layer.ts";
import { listShapes, shapesOf } from "./one-order.ts";

const EPSILON = 1e-7;

export const dot: LayerDefinition = (config) => {
  const given = config.raw("axes");
  const axes: unknown[] = Array.isArray(given) ? given : [given, given];
  if (axes.length !== 2 || !axes.every((axis) => Number.isSafeInteger(axis)))
    config.refuse("axes", given, "one axis, or one of each input");
  const normalize = config.boolean("normalize", false);

  return (c, inputs) => {
    const shapes = shapesOf(inputs, 2, 2);
    const [first, second] = shapes.map((shape, i) => {
      const axis = axes[i] as number;
      const along = axis < 0 ? axis + shape.length : axis;
      if (along < 1 || along >= shape.length)
        throw new InvalidModelError(
          "axes",
          `received ${axis}, expected an axis of [${shape.join(",")}] after the batch`,
        );
      const others = shape.map((_, place) => place).filter((place) => place > 0 && place !== along);
      const kept = others.map((place) => shape[place]!);
      if (![shape[along], ...kept].every((size) => typeof size === "number"))
        throw new InvalidModelError(
          "inputs",
          `every size but the batch must be known, received ${listShapes([shape])}`,
        );
      return { along, others, kept: kept as number[], depth: shape[along] as number };
    }) as [Side, Side];
    if (first.depth !== second.depth || shapes[0]![0] !== shapes[1]![0])
      throw new InvalidModelError(
        "inputs",
        `shapes ${listShapes(shapes)} have different sizes along axes ${first.along} and ${second.along}`,
      );
    const batch = shapes[0]![0]!;
    const side = (i: 0 | 1, order: number[], sizes: number[]) =>
      reshapeTo(c.graph, inOrder(c.graph, inputs[i]!, order), [batch, ...sizes]);
    const rows = product(first.kept);
    const columns = product(second.kept);
    const a = side(0, [0, ...first.others, first.along], [rows, first.depth]);
    const b = side(1, [0, second.along, ...second.others], [second.depth, columns]);
    const value = c.graph.op("MatMul", normalize ? [unit(c, a, 2), unit(c, b, 1)] : [a, b]);
    const sizes = [...first.kept, ...second.kept];
    return {
      value: reshapeTo(c.graph, value, [batch, ...(sizes.length > 0 ? sizes : [1])]),
    } satisfies LayerValue;
  };
};

type Side = { along: number; others: number[]; kept: number[]; depth: number };

const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);

function unit(c: LayerContext, x: Value, axis: number): Value {
  const squares = c.graph.op("ReduceSum", [c.graph.op("Mul", [x, x]), c.graph.ints([axis])], { keepdims: 1 });
  const floored = c.graph.op("Max", [squares, c.graph.scalar(EPSILON ** 2)]);
  return c.graph.op("Div", [x, c.graph.op("Sqrt", [floored])]);
}
