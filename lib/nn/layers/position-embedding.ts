/**
 * PositionEmbedding, as KerasHub declares it: one trained vector for each step, spread over the batch. What it is
 * applied to, [batch, ..., steps, size], gives the shape alone. Sequences longer than `sequence_length` are refused.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { inKerasOrder, type LayerContext, type LayerDefinition } from "../layer.ts";
import { type DeclaredWeight, readInitializer } from "./common.ts";

export const positionEmbedding: LayerDefinition = (config) => {
  const length = config.integer("sequence_length", {});
  const weight = { initializer: readInitializer(config, "initializer", "GlorotUniform") };
  // How sequences longer than this are dealt with.
  config.ignore("hierarchical_alpha");

  return (c, [x]) => {
    const like = inKerasOrder(c.graph, x!);
    const [steps, size] = stepsAndSize(like);
    return { value: spreadLike(c.graph, positions(c, weight, { length, steps, size }), like) };
  };
};

/** Vectors of the first `steps` positions, [steps, size]. @throws {InvalidModelError} when there are fewer */
export function positions(
  c: LayerContext,
  weight: DeclaredWeight,
  { length, steps, size }: { length: number; steps: number; size: number },
): Value {
  if (steps > length)
    throw new InvalidModelError("input", `has ${steps} steps, sequence_length is ${length}`);
  const g = c.graph;
  const embeddings = c.weight({
    name: "embeddings",
    shape: [length, size],
    ...weight,
    fans: { fanIn: length, fanOut: size },
    trainable: true,
  });
  return steps === length
    ? embeddings
    : g.op("Slice", [embeddings, g.ints([0]), g.ints([steps]), g.ints([0])]);
}

/** The last two sizes of [batch, ..., steps, size]. @throws {InvalidModelError} when they are not known */
export function stepsAndSize({ shape }: Value): [number, number] {
  const [steps, size] = shape.slice(-2);
  if (shape.length < 3 || typeof steps !== "number" || typeof size !== "number")
    throw new InvalidModelError("input", `received [${shape.join(",")}], expected [batch,steps,size]`);
  return [steps, size];
}

/** `value` repeated to the shape of `like`, whose batch may vary. */
export function spreadLike(graph: GraphBuilder, value: Value, like: Value): Value {
  const { shape } = like;
  if (shape.every((size): size is number => typeof size === "number"))
    return graph.op("Expand", [value, graph.ints(shape)]);
  // A choice that always falls on the first reads nothing but the shape of the second.
  const always = graph.constant("always", { datatype: "BOOL", shape: [1], data: Uint8Array.of(1) });
  return graph.op("Where", [always, value, like]);
}
