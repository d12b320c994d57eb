/**
 * Loss functions, by their Keras names; each appends nodes that give one scalar, the mean over batch and positions.
 * An output is [batch, ...positions, outputs]. Its target is either class numbers ([batch, ...positions], INT64),
 * which losses over several outputs take one-hot and losses of one output as the number itself, or plain values of
 * the output's shape (FP32). To add a loss: a file beside this one and an entry in table.ts.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { OutputScores } from "../../protocol/models.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inKerasOrder, inOrder, kerasShape, type LayerValue } from "../layer.ts";

export type Loss = {
  /**
   * Appends the loss of `prediction` against `target`; a scalar. `weights` [batch, ...positions] multiply the loss
   * of each position before the mean, as Keras's sample weights do. @throws {InvalidModelError}
   */
  append(graph: GraphBuilder, prediction: LayerValue, target: Value, weights?: Value): Value;
  /** What a network that is trained with this loss gives. */
  scores: OutputScores;
};

/** Reads a loss's options. @throws {InvalidModelError} */
export type LossDefinition = (config: ConfigReader) => Loss;

/** Keras keeps probabilities this far from 0 and 1 when it has no scores to work from. */
export const EPSILON = 1e-7;

/** The number of outputs at each position of a prediction [batch, ...positions, outputs]. @throws {InvalidModelError} */
export function outputsOf({ value, order }: LayerValue): number {
  const rank = value.shape.length;
  const outputs = value.shape[order ? order.indexOf(rank - 1) : rank - 1];
  if (typeof outputs !== "number" || rank < 2)
    throw new InvalidModelError(
      "network output",
      `received [${value.shape.join(",")}], expected [batch, ..., outputs]`,
    );
  return outputs;
}

/** As `outputsOf`, for a loss that compares classes with one another. @throws {InvalidModelError} */
export function severalClassesOf(prediction: LayerValue): number {
  const classes = outputsOf(prediction);
  if (classes < 2)
    throw new InvalidModelError(
      "network output",
      `received [batch,${classes}], expected two or more classes for this loss; binary_crossentropy takes one output`,
    );
  return classes;
}

/** Whether the target is class numbers rather than values. */
export function isClasses(target: Value): boolean {
  return target.datatype === "INT64";
}

/** Class numbers [...] as rows with a one at the class: [..., classes], FP32. */
export function oneHot(graph: GraphBuilder, classNumbers: Value, classes: number): Value {
  const values = graph.constant("off_on", {
    datatype: "FP32",
    shape: [2],
    data: Float32Array.of(0, 1),
  });
  return graph.op("OneHot", [classNumbers, graph.ints([classes]), values], { axis: -1 });
}

/**
 * What each output should be, in the output's shape: values as they are, classes one-hot, or the class number where
 * there is one output.
 * @throws {InvalidModelError} when the target has another shape
 */
export function targetsOf(graph: GraphBuilder, prediction: LayerValue, target: Value): Value {
  const outputs = outputsOf(prediction);
  const fit = fitOf(prediction, target);
  if (isClasses(target) && outputs > 1) return oneHot(graph, target, outputs);
  const values = isClasses(target) ? graph.op("Cast", [target], { to: ONNX_TYPE.FP32 }) : target;
  return fit === "positions" ? graph.op("Unsqueeze", [values, graph.ints([-1])]) : values;
}

/**
 * Whether the target has one number for each position of the output, or one for each output there.
 * @throws {InvalidModelError} for any other shape
 */
export function fitOf(prediction: LayerValue, target: Value): "positions" | "outputs" {
  const shape = kerasShape(prediction);
  const positions = shape.slice(0, -1);
  const given = target.shape.join();
  if (given === positions.join() && (isClasses(target) || outputsOf(prediction) === 1)) return "positions";
  if (given === shape.join() && !isClasses(target)) return "outputs";
  const expected = isClasses(target) ? positions : shape;
  throw new InvalidModelError(
    "network output",
    `received [${shape.join(",")}] for ${isClasses(target) ? "class numbers" : "values"} of [${given}], which would be ` +
      `[${expected.join(",")}] for it`,
  );
}

/** A loss that has a value at each position: [batch, ...positions]. */
export function perPosition(
  scores: OutputScores,
  of: (graph: GraphBuilder, prediction: LayerValue, target: Value) => Value,
): Loss {
  return {
    scores,
    append: (graph, prediction, target, weights) =>
      weightedMean(graph, of(graph, prediction, target), weights),
  };
}

/** A loss of each output on its own, averaged over outputs, positions and batch. */
export function elementwise(
  of: (graph: GraphBuilder, prediction: Value, target: Value) => Value,
  scores: OutputScores = "probabilities",
): Loss {
  return {
    scores,
    append(graph, prediction, target, weights) {
      const losses = of(graph, inKerasOrder(graph, prediction), targetsOf(graph, prediction, target));
      return weights ? weightedMean(graph, meanOutputs(graph, losses), weights) : mean(graph, losses);
    },
  };
}

/** The mean of `losses` times `weights`; Keras divides by the number of losses, not by the sum of weights. */
export function weightedMean(graph: GraphBuilder, losses: Value, weights: Value | undefined): Value {
  return mean(graph, weights ? graph.op("Mul", [losses, weights]) : losses);
}

/** Mean over every element. */
export function mean(graph: GraphBuilder, value: Value): Value {
  return graph.op("ReduceMean", [value], { keepdims: 0 });
}

/** Mean over the outputs: [batch, ...positions]. */
export function meanOutputs(graph: GraphBuilder, value: Value): Value {
  return graph.op("ReduceMean", [value, graph.ints([-1])], { keepdims: 0 });
}

/** Sum over the outputs: [batch, ...positions]. */
export function sumOutputs(graph: GraphBuilder, value: Value): Value {
  return graph.op("ReduceSum", [value, graph.ints([-1])], { keepdims: 0 });
}

/** `value` kept in [low, high]; no gradient beyond. What is no number stays so: a run that diverges has to show it. */
export function clip(graph: GraphBuilder, value: Value, low: number, high: number): Value {
  const [least, most] = [graph.scalar(low), graph.scalar(high)];
  const below = graph.op("Where", [graph.op("Greater", [value, most]), most, value]);
  return graph.op("Where", [graph.op("Less", [below, least]), least, below]);
}

/** Targets drawn towards `level` by `share` (Keras's label_smoothing). */
export function smoothed(graph: GraphBuilder, target: Value, share: number, level: number): Value {
  if (share === 0) return target;
  return graph.op("Add", [graph.op("Mul", [target, graph.scalar(1 - share)]), graph.scalar(share * level)]);
}

/**
 * The scores to compute from, in Keras's order: the outputs themselves if they are declared logits, or what went into
 * a last `activation`; undefined where there are only probabilities.
 * @throws {InvalidModelError} when outputs of a softmax or sigmoid are declared logits
 */
export function logitsOf(
  graph: GraphBuilder,
  prediction: LayerValue,
  activation: "softmax" | "sigmoid",
  fromLogits: boolean,
): Value | undefined {
  const { logits, order } = prediction;
  if (fromLogits && logits)
    throw new InvalidModelError(
      "loss.from_logits",
      `received true, expected false: the network ends with ${logits.activation}, which gives no logits`,
    );
  if (fromLogits) return inKerasOrder(graph, prediction);
  if (logits?.activation !== activation) return undefined;
  return inOrder(graph, order ? { value: logits.value, order } : { value: logits.value }, undefined);
}
