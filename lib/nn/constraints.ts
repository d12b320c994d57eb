/**
 * Constraints, by their Keras names (keras.io/api/layers/constraints): what a weight is made to satisfy after every
 * update. Norms run along `axis` (or several), counted as Keras counts them. To add one: an entry in the table.
 */

import { InvalidModelError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { KerasObject } from "../protocol/jobs.ts";
import { ConfigReader, lookUp } from "./config-reader.ts";

/**
 * Appends what becomes of a weight, of the same shape. Axis i of it is axis order[i] of Keras's variable.
 * @throws {InvalidModelError} when the weight has no such axis
 */
export type Constraint = (graph: GraphBuilder, weight: Value, order?: readonly number[]) => Value;

/** Keras adds it to norms it divides by. */
const EPSILON = 1e-7;

/** Scales the weight to the norms that `desired` gives for those it has. */
function normed(config: ConfigReader, desired: (graph: GraphBuilder, norms: Value) => Value): Constraint {
  const given = config.raw("axis") ?? 0;
  const axes: unknown[] = Array.isArray(given) ? given : [given];
  if (axes.length === 0 || !axes.every((axis) => Number.isSafeInteger(axis)))
    config.refuse("axis", given, "one axis, or a list of axes");

  return (graph, weight, order) => {
    const rank = weight.shape.length;
    const along = (axes as number[]).map((axis) => {
      const keras = axis < 0 ? axis + rank : axis;
      if (keras < 0 || keras >= rank)
        throw new InvalidModelError(
          `${config.where}.axis`,
          `received ${axis}, expected an axis of a weight of rank ${rank}`,
        );
      return order ? order.indexOf(keras) : keras;
    });
    const squares = graph.op("Mul", [weight, weight]);
    const norms = graph.op("Sqrt", [graph.op("ReduceSum", [squares, graph.ints(along)], { keepdims: 1 })]);
    const divisor = graph.op("Add", [norms, graph.scalar(EPSILON)]);
    return graph.op("Mul", [weight, graph.op("Div", [desired(graph, norms), divisor])]);
  };
}

export const CONSTRAINTS: Readonly<Record<string, (config: ConfigReader) => Constraint>> = {
  MaxNorm: (c) => {
    const most = c.number("max_value", { fallback: 2, min: 0 });
    return normed(c, (graph, norms) => graph.op("Min", [norms, graph.scalar(most)]));
  },
  MinMaxNorm: (c) => {
    const least = c.number("min_value", { fallback: 0, min: 0 });
    const most = c.number("max_value", { fallback: 1, min: least });
    const rate = c.number("rate", { fallback: 1, min: 0, max: 1 });
    return normed(c, (graph, norms) => {
      const kept = graph.op("Clip", [norms, graph.scalar(least), graph.scalar(most)]);
      const asked = graph.op("Mul", [kept, graph.scalar(rate)]);
      return graph.op("Add", [asked, graph.op("Mul", [norms, graph.scalar(1 - rate)])]);
    });
  },
  NonNeg: () => (graph, weight) => graph.op("Relu", [weight]),
  UnitNorm: (c) => normed(c, (graph) => graph.scalar(1)),
};

/** @throws {UnknownComponentError} {InvalidModelError} */
export function constraintOf(object: KerasObject, where: string): Constraint {
  const parse = lookUp(CONSTRAINTS, "constraint", object.class_name);
  const config = new ConfigReader(where, object.config);
  const constraint = parse(config);
  config.done();
  return constraint;
}
