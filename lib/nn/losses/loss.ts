/**
 * Loss functions, by their Keras names; each appends nodes that give one scalar, the mean over the batch.
 * Targets are class numbers ([batch], INT64). Losses over several outputs take them one-hot; a loss of one output
 * takes the number itself as the target. To add a loss: a file beside this one and an entry in table.ts.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { OutputScores } from "../../protocol/models.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inKerasOrder, type LayerValue } from "../layer.ts";

export type Loss = {
  /** Appends the loss of `prediction` [batch, outputs] for `labels` [batch]; a scalar. @throws {InvalidModelError} */
  append(graph: GraphBuilder, prediction: LayerValue, labels: Value): Value;
  /** What a network that is trained with this loss gives. */
  scores: OutputScores;
};

/** Reads a loss's options. @throws {InvalidModelError} */
export type LossDefinition = (config: ConfigReader) => Loss;

/** Keras keeps probabilities this far from 0 and 1 when it has no scores to work from. */
export const EPSILON = 1e-7;

/** The number of outputs a prediction [batch, outputs] has. @throws {InvalidModelError} */
export function classesOf(prediction: LayerValue): number {
  const [, classes, ...more] = prediction.value.shape;
  if (typeof classes !== "number" || more.length > 0)
    throw new InvalidModelError(
      "network output",
      `received [${prediction.value.shape.join(",")}], expected [batch, classes] for class labels`,
    );
  return classes;
}

/** As `classesOf`, for a loss that compares classes with one another. @throws {InvalidModelError} */
export function severalClassesOf(prediction: LayerValue): number {
  const classes = classesOf(prediction);
  if (classes < 2)
    throw new InvalidModelError(
      "network output",
      `received [batch,${classes}], expected two or more classes for this loss; binary_crossentropy takes one output`,
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

/** What each output should be, [batch, outputs]: one-hot, or the class number where there is one output. */
export function targetsOf(graph: GraphBuilder, prediction: LayerValue, labels: Value): Value {
  const classes = classesOf(prediction);
  if (classes > 1) return oneHot(graph, labels, classes);
  return graph.op("Unsqueeze", [graph.op("Cast", [labels], { to: ONNX_TYPE.FP32 }), graph.ints([1])]);
}

/** A loss of each output on its own, averaged over outputs and batch. */
export function elementwise(
  of: (graph: GraphBuilder, prediction: Value, target: Value) => Value,
  scores: OutputScores = "probabilities",
): Loss {
  return {
    scores,
    append: (graph, prediction, labels) =>
      mean(graph, of(graph, inKerasOrder(graph, prediction), targetsOf(graph, prediction, labels))),
  };
}

/** Mean over every element. */
export function mean(graph: GraphBuilder, value: Value): Value {
  return graph.op("ReduceMean", [value], { keepdims: 0 });
}

/** Sum over the outputs: [batch]. */
export function sumOutputs(graph: GraphBuilder, value: Value): Value {
  return graph.op("ReduceSum", [value, graph.ints([-1])], { keepdims: 0 });
}

/** `value` kept in [low, high]; no gradient beyond. */
export function clip(graph: GraphBuilder, value: Value, low: number, high: number): Value {
  const [least, most] = [graph.scalar(low), graph.scalar(high)];
  const below = graph.op("Where", [graph.op("LessOrEqual", [value, most]), value, most]);
  return graph.op("Where", [graph.op("GreaterOrEqual", [below, least]), below, least]);
}

/** Targets drawn towards `level` by `share` (Keras's label_smoothing). */
export function smoothed(graph: GraphBuilder, target: Value, share: number, level: number): Value {
  if (share === 0) return target;
  return graph.op("Add", [graph.op("Mul", [target, graph.scalar(1 - share)]), graph.scalar(share * level)]);
}

/**
 * The scores to compute from: the outputs themselves if they are declared logits, or what went into a last
 * `activation`; undefined where there are only probabilities.
 * @throws {InvalidModelError} when outputs of a softmax or sigmoid are declared logits
 */
export function logitsOf(
  prediction: LayerValue,
  activation: "softmax" | "sigmoid",
  fromLogits: boolean,
): Value | undefined {
  if (fromLogits && prediction.logits)
    throw new InvalidModelError(
      "loss.from_logits",
      `received true, expected false: the network ends with ${prediction.logits.activation}, which gives no logits`,
    );
  if (fromLogits) return prediction.value;
  return prediction.logits?.activation === activation ? prediction.logits.value : undefined;
}
