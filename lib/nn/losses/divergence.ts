/** Losses between whole distributions: Kullback-Leibler divergence, Poisson, cosine similarity. */

import { inKerasOrder } from "../layer.ts";
import {
  clip,
  EPSILON,
  elementwise,
  type LossDefinition,
  logitsOf,
  mean,
  oneHot,
  severalClassesOf,
  sumOutputs,
} from "./loss.ts";

/** Σ y log(y / p), with y and p kept from nought; after a softmax log p comes from the scores before it. */
export const klDivergence: LossDefinition = () => ({
  scores: "probabilities",
  append(graph, prediction, labels) {
    const target = oneHot(graph, labels, severalClassesOf(prediction));
    const kept = clip(graph, target, EPSILON, 1);
    const logits = logitsOf(prediction, "softmax", false);
    const logs = logits
      ? graph.op("LogSoftmax", [logits], { axis: -1 })
      : graph.op("Log", [clip(graph, inKerasOrder(graph, prediction), EPSILON, 1)]);
    const difference = graph.op("Sub", [graph.op("Log", [kept]), logs]);
    return mean(graph, sumOutputs(graph, graph.op("Mul", [kept, difference])));
  },
});

/** p - y log p: the outputs are the means of Poisson distributions, never negative. */
export const poisson: LossDefinition = () =>
  elementwise((graph, prediction, target) => {
    const log = graph.op("Log", [graph.op("Add", [prediction, graph.scalar(EPSILON)])]);
    return graph.op("Sub", [prediction, graph.op("Mul", [target, log])]);
  });

/** -cos of the angle between outputs and targets: -1 when they point the same way. */
export const cosineSimilarity: LossDefinition = (config) => {
  config.unset("axis", -1, 1);
  return {
    scores: "probabilities",
    append(graph, prediction, labels) {
      const target = oneHot(graph, labels, severalClassesOf(prediction));
      const x = inKerasOrder(graph, prediction);
      const squares = sumOutputs(graph, graph.op("Mul", [x, x]));
      // Kept from nought before the root, whose slope there is infinite.
      const length = graph.op("Sqrt", [graph.op("Max", [squares, graph.scalar(EPSILON ** 2)])]);
      const along = sumOutputs(graph, graph.op("Mul", [target, x]));
      return graph.op("Neg", [mean(graph, graph.op("Div", [along, length]))]);
    },
  };
};
