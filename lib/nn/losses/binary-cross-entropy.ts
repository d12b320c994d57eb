/**
 * Binary cross-entropy of every output on its own, and its focal form (arXiv:1708.02002). After a sigmoid, or from
 * logits x, log p is -softplus(-x) and log(1 - p) is -softplus(x): exact however large the score.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inKerasOrder, type LayerValue } from "../layer.ts";
import {
  clip,
  EPSILON,
  type LossDefinition,
  logitsOf,
  meanOutputs,
  perPosition,
  smoothed,
  targetsOf,
} from "./loss.ts";

/** The two sides of an output: that it is so, and that it is not. */
type Sides = { yes: Value; no: Value };

/** -(y log p + (1 - y) log(1 - p)) */
export const binaryCrossEntropy: LossDefinition = (config) => {
  const { fromLogits, smoothing } = readOptions(config);
  return perPosition(fromLogits ? "logits" : "probabilities", (graph, prediction, given) => {
    const target = sidesOf(graph, smoothed(graph, targetsOf(graph, prediction, given), smoothing, 0.5));
    const logs = weigh(graph, target, logsOf(graph, prediction, fromLogits).logs);
    return graph.op("Neg", [meanOutputs(graph, logs)]);
  });
};

/** The cross-entropy times (1 - p of the true side)^γ, and on request α for yes, 1 - α for no. */
export const binaryFocalCrossEntropy: LossDefinition = (config) => {
  const balanced = config.boolean("apply_class_balancing", false);
  const alpha = config.number("alpha", { fallback: 0.25, min: 0, max: 1 });
  const gamma = config.number("gamma", { fallback: 2, min: 0 });
  const { fromLogits, smoothing } = readOptions(config);
  return perPosition(fromLogits ? "logits" : "probabilities", (graph, prediction, given) => {
    const target = sidesOf(graph, smoothed(graph, targetsOf(graph, prediction, given), smoothing, 0.5));
    const { logs, shares } = logsOf(graph, prediction, fromLogits);
    const missing = weigh(graph, target, { yes: shares.no, no: shares.yes });
    // Kept above zero: the power has no finite slope there when γ is below one.
    const factor = graph.op("Pow", [graph.op("Max", [missing, graph.scalar(EPSILON)]), graph.scalar(gamma)]);
    const focal = graph.op("Mul", [factor, weigh(graph, target, logs)]);
    const balance = { yes: graph.scalar(alpha), no: graph.scalar(1 - alpha) };
    const weighted = balanced ? graph.op("Mul", [weigh(graph, target, balance), focal]) : focal;
    return graph.op("Neg", [meanOutputs(graph, weighted)]);
  });
};

function logsOf(
  graph: GraphBuilder,
  prediction: LayerValue,
  fromLogits: boolean,
): { logs: Sides; shares: Sides } {
  const x = logitsOf(graph, prediction, "sigmoid", fromLogits);
  if (x) {
    const minus = graph.op("Neg", [x]);
    const log = (opposite: Value) => graph.op("Neg", [graph.op("Softplus", [opposite])]);
    return {
      logs: { yes: log(minus), no: log(x) },
      shares: { yes: graph.op("Sigmoid", [x]), no: graph.op("Sigmoid", [minus]) },
    };
  }
  const shares = sidesOf(graph, clip(graph, inKerasOrder(graph, prediction), EPSILON, 1 - EPSILON));
  return { logs: { yes: graph.op("Log", [shares.yes]), no: graph.op("Log", [shares.no]) }, shares };
}

function sidesOf(graph: GraphBuilder, yes: Value): Sides {
  return { yes, no: graph.op("Sub", [graph.scalar(1), yes]) };
}

/** target.yes · of.yes + target.no · of.no */
function weigh(graph: GraphBuilder, target: Sides, of: Sides): Value {
  return graph.op("Add", [graph.op("Mul", [target.yes, of.yes]), graph.op("Mul", [target.no, of.no])]);
}

function readOptions(config: ConfigReader): { fromLogits: boolean; smoothing: number } {
  config.unset("axis", -1);
  return {
    fromLogits: config.boolean("from_logits", false),
    smoothing: config.number("label_smoothing", { fallback: 0, min: 0, max: 1 }),
  };
}
