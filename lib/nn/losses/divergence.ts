/** Losses between whole distributions: Kullback-Leibler divergence, Poisson, cosine similarity. */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { inKerasOrder } from "../layer.ts";
import {
  clip,
  EPSILON,
  elementwise,
  type LossDefinition,
  logitsOf,
  perPosition,
  severalClassesOf,
  sumOutputs,
  targetsOf,
} from "./loss.ts";

/** Σ y log(y / p), with y and p kept from nought; after a softmax log p comes from the scores before it. */
export const klDivergence: LossDefinition = () =>
  perPosition("probabilities", (graph, prediction, target) => {
    severalClassesOf(prediction);
    const kept = clip(graph, targetsOf(graph, prediction, target), EPSILON, 1);
    const logits = logitsOf(graph, prediction, "softmax", false);
    const logs = logits
      ? graph.op("LogSoftmax", [logits], { axis: -1 })
      : graph.op("Log", [clip(graph, inKerasOrder(graph, prediction), EPSILON, 1)]);
    const difference = graph.op("Sub", [graph.op("Log", [kept]), logs]);
    return sumOutputs(graph, graph.op("Mul", [kept, difference]));
  });

/** p - y log p: the outputs are the means of Poisson distributions, never negative. */
export const poisson: LossDefinition = () =>
  elementwise((graph, prediction, target) => {
    const log = graph.op("Log", [graph.op("Add", [prediction, graph.scalar(EPSILON)])]);
    return graph.op("Sub", [prediction, graph.op("Mul", [target, log])]);
  });

/** -cos of the angle between outputs and targets: -1 when they point the same way. */
export const cosineSimilarity: LossDefinition = (config) => {
  config.unset("axis", -1);
  return perPosition("probabilities", (graph, prediction, target) => {
    severalClassesOf(prediction);
    const goal = unit(graph, targetsOf(graph, prediction, target));
    const along = graph.op("Mul", [goal, unit(graph, inKerasOrder(graph, prediction))]);
    return graph.op("Neg", [sumOutputs(graph, along)]);
  });
};

/** The vectors along the last axis, of length one. */
function unit(graph: GraphBuilder, x: Value): Value {
  const squares = graph.op("ReduceSum", [graph.op("Mul", [x, x]), graph.ints([-1])], { keepdims: 1 });
  // Kept from nought before the root, whose slope there is infinite.
  return graph.op("Div", [x, graph.op("Sqrt", [graph.op("Max", [squares, graph.scalar(EPSILON ** 2)])])]);
}
