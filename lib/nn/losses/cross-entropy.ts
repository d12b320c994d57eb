/** Categorical cross-entropy against class numbers, with label smoothing; and its focal form (arXiv:1708.02002). */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { LayerValue } from "../layer.ts";
import {
  clip,
  EPSILON,
  type Loss,
  type LossDefinition,
  logitsOf,
  mean,
  oneHot,
  severalClassesOf,
  smoothed,
  sumOutputs,
} from "./loss.ts";

type Options = { fromLogits: boolean; smoothing: number };

export const sparseCategoricalCrossEntropy: LossDefinition = (config) => {
  config.unset("ignore_class");
  return crossEntropy({ fromLogits: readFromLogits(config), smoothing: 0 });
};

export const categoricalCrossEntropy: LossDefinition = (config) => crossEntropy(readOptions(config));

/** -α (1 - p)^γ log p: classes that are told well already count less. */
export const categoricalFocalCrossEntropy: LossDefinition = (config) => {
  const alpha = config.number("alpha", { fallback: 0.25, min: 0 });
  const gamma = config.number("gamma", { fallback: 2, min: 0 });
  const options = readOptions(config);
  return {
    scores: scoresOf(options),
    append(graph, prediction, labels) {
      const logs = graph.op("LogSoftmax", [scoresLikeLogits(graph, prediction, options)], { axis: -1 });
      // Kept above zero: the power has no finite slope there when γ is below one.
      const missing = graph.op("Sub", [graph.scalar(1), graph.op("Exp", [logs])]);
      const weight = graph.op("Pow", [
        graph.op("Max", [missing, graph.scalar(EPSILON)]),
        graph.scalar(gamma),
      ]);
      const target = targetsOf(graph, prediction, labels, options);
      const weighted = graph.op("Mul", [graph.op("Mul", [weight, logs]), target]);
      return graph.op("Mul", [mean(graph, sumOutputs(graph, weighted)), graph.scalar(-alpha)]);
    },
  };
};

/** -log p[label], averaged; by log-sum-exp, in one operator where the targets are not smoothed. */
function crossEntropy(options: Options): Loss {
  return {
    scores: scoresOf(options),
    append(graph, prediction, labels) {
      severalClassesOf(prediction);
      const scores = scoresLikeLogits(graph, prediction, options);
      if (options.smoothing === 0)
        return graph.op("SoftmaxCrossEntropyLoss", [scores, labels], { reduction: "mean" });
      const logs = graph.op("LogSoftmax", [scores], { axis: -1 });
      const target = targetsOf(graph, prediction, labels, options);
      return graph.op("Neg", [mean(graph, sumOutputs(graph, graph.op("Mul", [target, logs])))]);
    },
  };
}

/**
 * Logits, or as Keras makes them of other outputs: the log of the outputs normalised to sum one and clipped. Log p
 * is its own log-softmax up to a constant that log-sum-exp removes.
 */
function scoresLikeLogits(graph: GraphBuilder, prediction: LayerValue, { fromLogits }: Options): Value {
  const logits = logitsOf(prediction, "softmax", fromLogits);
  if (logits) return logits;
  const sum = graph.op("ReduceSum", [prediction.value, graph.ints([-1])], { keepdims: 1 });
  const share = graph.op("Div", [prediction.value, sum]);
  return graph.op("Log", [clip(graph, share, EPSILON, 1 - EPSILON)]);
}

function targetsOf(
  graph: GraphBuilder,
  prediction: LayerValue,
  labels: Value,
  { smoothing }: Options,
): Value {
  const classes = severalClassesOf(prediction);
  return smoothed(graph, oneHot(graph, labels, classes), smoothing, 1 / classes);
}

function scoresOf({ fromLogits }: Options) {
  return fromLogits ? "logits" : "probabilities";
}

function readOptions(config: ConfigReader): Options {
  const smoothing = config.number("label_smoothing", { fallback: 0, min: 0, max: 1 });
  return { smoothing, fromLogits: readFromLogits(config) };
}

/** Outputs are [batch, classes]: their last axis is also axis 1. */
function readFromLogits(config: ConfigReader): boolean {
  config.unset("axis", -1, 1);
  return config.boolean("from_logits", false);
}
