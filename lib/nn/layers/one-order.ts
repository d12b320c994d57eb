/** Brings several tensors into one order of axes, moving as few elements as can be. */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { inOrder, kerasShape, type LayerValue, movesElements } from "../layer.ts";

/** The tensors, of equal rank, in the order of one of them or in Keras's. */
export function inOneOrder(
  graph: GraphBuilder,
  inputs: readonly LayerValue[],
): { values: Value[]; order?: readonly number[] } {
  const costs = [...inputs.map(({ order }) => order), undefined].map((order) => ({
    order,
    cost: inputs.reduce((sum, v) => sum + (movesElements(v, order) ? elements(v) : 0), 0),
  }));
  const { order } = costs.reduce((best, other) => (other.cost < best.cost ? other : best));
  const values = inputs.map((v) => inOrder(graph, v, order));
  return order ? { values, order } : { values };
}

/** Elements of one example. */
function elements({ value }: LayerValue): number {
  return value.shape.reduce<number>((size, dim) => size * (typeof dim === "number" ? dim : 1), 1);
}

/** The shapes of at least `least` inputs, as Keras states them. @throws {InvalidModelError} for fewer */
export function shapesOf(inputs: readonly LayerValue[], least: number, most?: number) {
  if (inputs.length < least || (most !== undefined && inputs.length > most))
    throw new InvalidModelError(
      "inputs",
      `received ${inputs.length}, expected ${least === most ? `${least}` : `at least ${least}`}`,
    );
  return inputs.map(kerasShape);
}

export function listShapes(shapes: readonly (readonly (number | string)[])[]): string {
  return shapes.map((shape) => `[${shape.join(",")}]`).join(" and ");
}
