/**
 * Loss functions, by their Keras names; each appends nodes that give one scalar, the mean over the batch.
 * Targets are class numbers ([batch], INT64); losses over whole vectors take them one-hot. To add a loss: a file
 * beside this one and an entry in table.ts.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { LayerValue } from "../layer.ts";

export type Loss = (graph: GraphBuilder, prediction: LayerValue, labels: Value) => Value;

/** The number of classes a prediction [batch, classes] has. @throws {InvalidModelError} */
export function classesOf(prediction: LayerValue): number {
  const [, classes, ...more] = prediction.value.shape;
  if (typeof classes !== "number" || more.length > 0)
    throw new InvalidModelError(
      "network output",
      `received [${prediction.value.shape.join(",")}], expected [batch, classes] for class labels`,
    );
  return classes;
}

/** Labels [batch] as rows with a one at the class: [batch, classes], FP32. */
export function oneHot(graph: GraphBuilder, labels: Value, classes: number): Value {
  const values = graph.constant("off_on", {
    datatype: "FP32",
    shape: [2],
    data: Float32Array.of(0, 1),
  });
  return graph.op("OneHot", [labels, graph.ints([classes]), values], { axis: 1 });
}
