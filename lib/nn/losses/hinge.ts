/**
 * Hinge losses: an output should be above 1 for its class and below -1 for others, so targets 0 count as -1. What
 * the network gives are scores whose sign decides, not probabilities.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { inKerasOrder } from "../layer.ts";
import {
  elementwise,
  type LossDefinition,
  perPosition,
  severalClassesOf,
  sumOutputs,
  targetsOf,
} from "./loss.ts";

/** max(0, 1 - y·x) */
export const hinge: LossDefinition = () => elementwise(shortfall, "logits");

export const squaredHinge: LossDefinition = () =>
  elementwise((graph, prediction, target) => {
    const short = shortfall(graph, prediction, target);
    return graph.op("Mul", [short, short]);
  }, "logits");

/** max(0, 1 + the best other class - the true class), where the best other is at least 0, as in Keras. */
export const categoricalHinge: LossDefinition = () =>
  perPosition("logits", (graph, prediction, given) => {
    severalClassesOf(prediction);
    const target = targetsOf(graph, prediction, given);
    const scores = inKerasOrder(graph, prediction);
    const own = sumOutputs(graph, graph.op("Mul", [target, scores]));
    const others = graph.op("Mul", [graph.op("Sub", [graph.scalar(1), target]), scores]);
    const best = graph.op("ReduceMax", [others, graph.ints([-1])], { keepdims: 0 });
    const short = graph.op("Add", [graph.op("Sub", [best, own]), graph.scalar(1)]);
    return graph.op("Max", [short, graph.scalar(0)]);
  });

function shortfall(graph: GraphBuilder, prediction: Value, target: Value): Value {
  const sign = signsOf(graph, target);
  const margin = graph.op("Sub", [graph.scalar(1), graph.op("Mul", [sign, prediction])]);
  return graph.op("Max", [margin, graph.scalar(0)]);
}

/** Targets that are all 0 or 1 as -1 and 1; others, -1 and 1 already, as they are. */
function signsOf(graph: GraphBuilder, target: Value): Value {
  const one = graph.scalar(1);
  const distance = graph.op("Abs", [graph.op("Mul", [target, graph.op("Sub", [target, one])])]);
  const isBinary = graph.op("Equal", [graph.op("ReduceMax", [distance], { keepdims: 0 }), graph.scalar(0)]);
  const sign = graph.op("Sub", [graph.op("Mul", [target, graph.scalar(2)]), one]);
  return graph.op("Where", [isBinary, sign, target]);
}
