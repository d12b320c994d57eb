/**
 * Gives a constant scalar as many axes as the operand it meets, all of size 1, where that one ends in an axis of size
 * 1. ONNX Runtime takes the other form element by element: 330 microseconds instead of 9 for the pixels of 32 images
 * [28, 28, 1]. Values and shapes stay the same.
 */

import type { GraphBuilder, Value } from "../builder.ts";
import type { Node } from "../graph.ts";

/** Operators of two operands that the runtime broadcasts alike. */
const BROADCASTING = new Set(
  "Add Sub Mul Div Pow Max Min Equal Greater GreaterOrEqual Less LessOrEqual PRelu".split(" "),
);

/** Rewrites the nodes of `graph` in place. */
export function spreadScalars(graph: GraphBuilder): void {
  for (const node of graph.nodes) {
    if (node.domain !== "" || !BROADCASTING.has(node.op) || node.inputs.length !== 2) continue;
    const [a, b] = graph.inputsOf(node) as [Value, Value];
    if (isShort(graph, a, b)) spread(graph, node, 0, b.shape.length);
    else if (isShort(graph, b, a)) spread(graph, node, 1, a.shape.length);
  }
}

function isShort(graph: GraphBuilder, scalar: Value, { shape }: Value): boolean {
  return shape.at(-1) === 1 && scalar.shape.length === 0 && graph.initializers.has(scalar.name);
}

function spread(graph: GraphBuilder, node: Node, place: number, axes: number): void {
  const name = node.inputs[place]!;
  const shape = new Array<number>(axes).fill(1);
  const wide = graph.constant(`${name}_of_${axes}_axes`, { ...graph.initializers.get(name)!, shape });
  node.inputs = node.inputs.with(place, wide.name);
}
