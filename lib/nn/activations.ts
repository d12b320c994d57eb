/** Activation functions, by their Keras names. To add one: an entry in the table. */

import type { GraphBuilder, Value } from "../onnx/builder.ts";
import { lookUp } from "./config-reader.ts";

/** Appends the activation's nodes; softmax works along the last axis. */
export type Activation = (graph: GraphBuilder, x: Value) => Value;

const unary =
  (op: string): Activation =>
  (graph, x) =>
    graph.op(op, [x]);

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  linear: (_, x) => x,
  relu: unary("Relu"),
  sigmoid: unary("Sigmoid"),
  tanh: unary("Tanh"),
  softplus: unary("Softplus"),
  softmax: (graph, x) => graph.op("Softmax", [x], { axis: -1 }),
};

/** @throws {UnknownComponentError} */
export function activationOf(name: string): Activation {
  return lookUp(ACTIVATIONS, "activation", name);
}
