/**
 * Activations that make probabilities of scores. They keep the scores beside the result: a cross-entropy computed
 * from them is exact where a probability has already been rounded to 0 or 1.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inKerasOrder, kerasShape, type LayerValue } from "../layer.ts";
import type { ActivationDefinition } from "./activation.ts";

export const sigmoid: ActivationDefinition = () => (graph, x) => ({
  value: graph.op("Sigmoid", [x.value]),
  ...(x.order ? { order: x.order } : {}),
  logits: { value: x.value, activation: "sigmoid" },
});

/** Losses read scores along the last axis alone. */
export const softmax: ActivationDefinition = (config) => {
  const axis = readAxis(config);
  return (graph, x) => {
    const placed = place(graph, x, axis);
    const value = graph.op("Softmax", [placed.value], { axis: placed.axis });
    if (placed.order) return { value, order: placed.order };
    const last = placed.axis === value.shape.length - 1;
    return last ? { value, logits: { value: placed.value, activation: "softmax" } } : { value };
  };
};

export const logSoftmax: ActivationDefinition = (config) => {
  const axis = readAxis(config);
  return (graph, x) => {
    const placed = place(graph, x, axis);
    const value = graph.op("LogSoftmax", [placed.value], { axis: placed.axis });
    return placed.order ? { value, order: placed.order } : { value };
  };
};

/** One axis; Keras 3 takes a list as well. */
function readAxis(config: ConfigReader): number {
  const given = config.raw("axis") ?? -1;
  const axis = Array.isArray(given) && given.length === 1 ? given[0] : given;
  return Number.isSafeInteger(axis) ? (axis as number) : config.refuse("axis", given, "one axis");
}

/** The softmax layer leaves masked places out in Keras. */
export const softmaxLayer: ActivationDefinition = (config) => {
  const activation = softmax(config);
  return (graph, x) => {
    if (x.mask) throw new InvalidModelError("input", "received one with a mask, expected one without");
    return activation(graph, x);
  };
};

/** The input, in Keras's order for its last axis, and where the axis lies in memory. */
function place(graph: GraphBuilder, x: LayerValue, axis: number) {
  const shape = kerasShape(x);
  const along = axis < 0 ? axis + shape.length : axis;
  if (along < 1 || along >= shape.length)
    throw new InvalidModelError(
      "axis",
      `received ${axis}, expected an axis of [${shape.join(",")}] after the batch`,
    );
  if (along === shape.length - 1) return { value: inKerasOrder(graph, x), axis: along };
  return { value: x.value, axis: x.order ? x.order.indexOf(along) : along, order: x.order };
}
