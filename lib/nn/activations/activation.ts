/**
 * What an activation function is: it reads its options once and appends its nodes to any graph. One that works
 * element by element leaves the axes in the order in which they are.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { LayerValue } from "../layer.ts";

/** Appends the activation's nodes. @throws {InvalidModelError} when the input does not fit */
export type Activation = (graph: GraphBuilder, x: LayerValue) => LayerValue;

/** Reads an activation's options, each with Keras's default. @throws {InvalidModelError} */
export type ActivationDefinition = (config: ConfigReader) => Activation;

/** A function of each element. */
export type Elementwise = (graph: GraphBuilder, x: Value) => Value;

export function elementwise(of: Elementwise): Activation {
  return (graph, x) => {
    const value = of(graph, x.value);
    return x.order ? { value, order: x.order } : { value };
  };
}

/** A function of each element without options. */
export const plain =
  (of: Elementwise): ActivationDefinition =>
  () =>
    elementwise(of);

/** One ONNX operator. */
export const operator = (op: string): ActivationDefinition => plain((graph, x) => graph.op(op, [x]));
