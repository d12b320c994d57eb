/**
 * What a network is trained for: a loss for each of its outputs, their weighted sum, and beside it what is reported
 * of each output.
 *
 * `measures` is one vector, three numbers for each output: its loss, how many of its positions give their largest
 * score to the right class (0 where the target is values), and how many positions there are.
 */

import { inKerasOrder, type LayerValue } from "../nn/layer.ts";
import { isClasses, type Loss, outputsOf } from "../nn/losses/loss.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import { ONNX_TYPE } from "../onnx/proto.ts";

export type OutputObjective = {
  loss: Loss;
  /** Share in the total. */
  weight: number;
  /** How much each class counts in training; undefined: all the same. */
  classWeights?: readonly number[];
};

/** In the order of the network's outputs. */
export type Objective = readonly OutputObjective[];

export const MEASURES_PER_OUTPUT = 3;

/**
 * Appends losses and measures. `targets` are INT64 class numbers or FP32 values, `exampleWeights` [batch].
 * @throws {InvalidModelError} when a target does not fit its output
 */
export function appendMeasures(
  graph: GraphBuilder,
  objective: Objective,
  outputs: readonly LayerValue[],
  targets: readonly Value[],
  options: { exampleWeights: Value | undefined; training: boolean },
): { loss: Value; measures: Value } {
  const measures: Value[] = [];
  let total: Value | undefined;
  for (const [i, { loss, weight, classWeights }] of objective.entries()) {
    const [output, target] = [outputs[i]!, targets[i]!];
    const mask = maskOf(graph, output);
    const weights = product(graph, [
      options.exampleWeights && overPositions(graph, options.exampleWeights, output),
      options.training && classWeights ? weightsOfClasses(graph, classWeights, target) : undefined,
      mask && shareOfMean(graph, mask),
    ]);
    const value = loss.append(graph, output, target, weights);
    const weighted = weight === 1 ? value : graph.op("Mul", [value, graph.scalar(weight)]);
    total = total ? graph.op("Add", [total, weighted]) : weighted;
    measures.push(value, ...countRight(graph, output, target, loss, mask));
  }
  const one = graph.ints([1]);
  const each = measures.map((value) => graph.op("Reshape", [value, one]));
  return { loss: total!, measures: graph.op("Concat", each, { axis: 0 }) };
}

/** The output's mask as FP32 [batch, ...positions], where it has one of that shape. */
function maskOf(graph: GraphBuilder, { value, mask }: LayerValue): Value | undefined {
  if (mask?.shape.length !== value.shape.length - 1) return undefined;
  return graph.op("Cast", [mask], { to: ONNX_TYPE.FP32 });
}

/** Weights that turn the mean over all positions into the mean over those that count. */
function shareOfMean(graph: GraphBuilder, mask: Value): Value {
  const mean = graph.op("ReduceMean", [mask], { keepdims: 0 });
  return graph.op("Div", [mask, graph.op("Max", [mean, graph.scalar(1e-12)])]);
}

/** [batch] as [batch, 1, ...] for as many positions as the output has. */
function overPositions(graph: GraphBuilder, weights: Value, { value }: LayerValue): Value {
  const ones = value.shape.slice(2).map(() => 1);
  return ones.length === 0 ? weights : graph.op("Reshape", [weights, graph.ints([-1, ...ones])]);
}

function weightsOfClasses(graph: GraphBuilder, classWeights: readonly number[], target: Value): Value {
  const data = Float32Array.from(classWeights);
  const table = graph.constant("class_weights", { datatype: "FP32", shape: [data.length], data });
  return graph.op("Gather", [table, target], { axis: 0 });
}

function product(graph: GraphBuilder, factors: readonly (Value | undefined)[]): Value | undefined {
  const given = factors.filter((factor) => factor !== undefined);
  if (given.length === 0) return undefined;
  return given.reduce((a, b) => graph.op("Mul", [a, b]));
}

/** How many positions give their largest score to the class, and of how many; one output is high for the second class. */
function countRight(
  graph: GraphBuilder,
  output: LayerValue,
  target: Value,
  loss: Loss,
  mask: Value | undefined,
): [Value, Value] {
  const positions = (target.shape as number[]).reduce((a, b) => a * b, 1);
  if (!isClasses(target)) return [graph.scalar(0), graph.scalar(positions)];
  const best =
    outputsOf(output) === 1
      ? isSecondClass(graph, output, loss)
      : graph.op("ArgMax", [scoresOf(graph, output)], { axis: -1, keepdims: 0 });
  const hits = graph.op("Cast", [graph.op("Equal", [best, target])], { to: ONNX_TYPE.FP32 });
  const sum = (value: Value) => graph.op("ReduceSum", [value], { keepdims: 0 });
  return mask ? [sum(graph.op("Mul", [hits, mask])), sum(mask)] : [sum(hits), graph.scalar(positions)];
}

function scoresOf(graph: GraphBuilder, { value, order, logits }: LayerValue): Value {
  const scores = logits?.value ?? value;
  return inKerasOrder(graph, order ? { value: scores, order } : { value: scores });
}

/** INT64 [batch, ...positions]: 1 where the single output is beyond the middle of its range. */
function isSecondClass(graph: GraphBuilder, output: LayerValue, { scores }: Loss): Value {
  const middle = graph.scalar(scores === "logits" ? 0 : 0.5);
  const high = graph.op("Greater", [inKerasOrder(graph, output), middle]);
  return graph.op("Squeeze", [graph.op("Cast", [high], { to: ONNX_TYPE.INT64 }), graph.ints([-1])]);
}
