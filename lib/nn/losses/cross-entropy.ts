/** Categorical cross-entropy against class numbers or shares of each class, with label smoothing; and its focal form (arXiv:1708.02002). */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inKerasOrder, type LayerValue } from "../layer.ts";
import {
  clip,
  EPSILON,
  fitOf,
  isClasses,
  type Loss,
  type LossDefinition,
  logitsOf,
  perPosition,
  severalClassesOf,
  smoothed,
  sumOutputs,
  targetsOf,
} from "./loss.ts";

type Options = { fromLogits: boolean; smoothing: number };

export const sparseCategoricalCrossEntropy: LossDefinition = (config) => {
  config.unset("ignore_class");
  const loss = crossEntropy({ fromLogits: readFromLogits(config), smoothing: 0 });
  return {
    ...loss,
    append(graph, prediction, target, weights) {
      if (!isClasses(target))
        throw new InvalidModelError(
          "loss",
          "sparse_categorical_crossentropy compares with class numbers, and the target is plain values; " +
            "categorical_crossentropy takes them",
        );
      return loss.append(graph, prediction, target, weights);
    },
  };
};

export const categoricalCrossEntropy: LossDefinition = (config) => crossEntropy(readOptions(config));

/** -α (1 - p)^γ log p: classes that are told well already count less. */
export const categoricalFocalCrossEntropy: LossDefinition = (config) => {
  const alpha = config.number("alpha", { fallback: 0.25, min: 0 });
  const gamma = config.number("gamma", { fallback: 2, min: 0 });
  const options = readOptions(config);
  return perPosition(scoresOf(options), (graph, prediction, target) => {
    const logs = graph.op("LogSoftmax", [scoresLikeLogits(graph, prediction, options)], { axis: -1 });
    // Kept above zero: the power has no finite slope there when γ is below one.
    const missing = graph.op("Sub", [graph.scalar(1), graph.op("Exp", [logs])]);
    const weight = graph.op("Pow", [graph.op("Max", [missing, graph.scalar(EPSILON)]), graph.scalar(gamma)]);
    const weighted = graph.op("Mul", [
      graph.op("Mul", [weight, logs]),
      sharesOf(graph, prediction, target, options),
    ]);
    return graph.op("Mul", [sumOutputs(graph, weighted), graph.scalar(-alpha)]);
  });
};

/** -log p[class], averaged; by log-sum-exp, in one operator where the targets are plain class numbers. */
function crossEntropy(options: Options): Loss {
  const general = perPosition(scoresOf(options), (graph, prediction, target) => {
    const logs = graph.op("LogSoftmax", [scoresLikeLogits(graph, prediction, options)], { axis: -1 });
    const shares = sharesOf(graph, prediction, target, options);
    return graph.op("Neg", [sumOutputs(graph, graph.op("Mul", [shares, logs]))]);
  });
  return {
    scores: general.scores,
    append(graph, prediction, target, weights) {
      const classes = severalClassesOf(prediction);
      if (options.smoothing !== 0 || weights || !isClasses(target))
        return general.append(graph, prediction, target, weights);
      fitOf(prediction, target);
      const scores = scoresLikeLogits(graph, prediction, options);
      if (scores.shape.length === 2)
        return graph.op("SoftmaxCrossEntropyLoss", [scores, target], { reduction: "mean" });
      const rows = graph.op("Reshape", [scores, graph.ints([-1, classes])]);
      return graph.op("SoftmaxCrossEntropyLoss", [rows, graph.op("Reshape", [target, graph.ints([-1])])], {
        reduction: "mean",
      });
    },
  };
}

/**
 * Logits, or as Keras makes them of other outputs: the log of the outputs normalised to sum one and clipped. Log p
 * is its own log-softmax up to a constant that log-sum-exp removes.
 */
function scoresLikeLogits(graph: GraphBuilder, prediction: LayerValue, { fromLogits }: Options): Value {
  severalClassesOf(prediction);
  const logits = logitsOf(graph, prediction, "softmax", fromLogits);
  if (logits) return logits;
  const outputs = inKerasOrder(graph, prediction);
  const sum = graph.op("ReduceSum", [outputs, graph.ints([-1])], { keepdims: 1 });
  const share = graph.op("Div", [outputs, sum]);
  return graph.op("Log", [clip(graph, share, EPSILON, 1 - EPSILON)]);
}

function sharesOf(graph: GraphBuilder, prediction: LayerValue, target: Value, { smoothing }: Options): Value {
  return smoothed(graph, targetsOf(graph, prediction, target), smoothing, 1 / severalClassesOf(prediction));
}

function scoresOf({ fromLogits }: Options) {
  return fromLogits ? "logits" : "probabilities";
}

function readOptions(config: ConfigReader): Options {
  const smoothing = config.number("label_smoothing", { fallback: 0, min: 0, max: 1 });
  return { smoothing, fromLogits: readFromLogits(config) };
}

function readFromLogits(config: ConfigReader): boolean {
  config.unset("axis", -1);
  return config.boolean("from_logits", false);
}
