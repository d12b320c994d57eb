/** Mean of (prediction - target)² over every element; targets are the labels one-hot. */

import { inKerasOrder } from "../layer.ts";
import { classesOf, type Loss, oneHot } from "./loss.ts";

export const meanSquaredError: Loss = (graph, prediction, labels) => {
  const target = oneHot(graph, labels, classesOf(prediction));
  const difference = graph.op("Sub", [inKerasOrder(graph, prediction), target]);
  return graph.op("ReduceMean", [graph.op("Mul", [difference, difference])], { keepdims: 0 });
};
