/** Categorical cross-entropy against class numbers. */

import { classesOf, type Loss } from "./loss.ts";

/** Keras clips probabilities to [eps, 1 - eps] when it has no scores to work from. */
const EPSILON = 1e-7;

/**
 * -log p[label], averaged. After a softmax it is computed from the scores before it, by log-sum-exp; from other
 * outputs, as Keras does, on the outputs normalised to sum one and clipped.
 */
export const crossEntropy: Loss = (graph, prediction, labels) => {
  classesOf(prediction);
  if (prediction.logits?.activation === "softmax")
    return graph.op("SoftmaxCrossEntropyLoss", [prediction.logits.value, labels], { reduction: "mean" });
  const sum = graph.op("ReduceSum", [prediction.value, graph.ints([-1])], { keepdims: 1 });
  const share = graph.op("Div", [prediction.value, sum]);
  const upper = graph.op("Where", [
    graph.op("Less", [share, graph.scalar(1 - EPSILON)]),
    share,
    graph.scalar(1 - EPSILON),
  ]);
  const clipped = graph.op("Where", [
    graph.op("Greater", [upper, graph.scalar(EPSILON)]),
    upper,
    graph.scalar(EPSILON),
  ]);
  // log p is its own log-softmax up to a constant that log-sum-exp removes.
  return graph.op("SoftmaxCrossEntropyLoss", [graph.op("Log", [clipped]), labels], { reduction: "mean" });
};
