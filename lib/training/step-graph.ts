/**
 * Compiles a declared network into the ONNX graphs a run executes, for one batch size:
 * the training step (forward, loss, backward, optimiser update) and the evaluation step (forward, loss).
 *
 * All trained weights travel as one flat vector `weights`, moving statistics as `statistics`, and each optimiser
 * slot as one vector: few tensors cross into the runtime, and the update is a handful of long vector operations.
 */

import { gradients } from "../autodiff/backward.ts";
import { InvalidModelError } from "../errors.ts";
import { inKerasOrder, type LayerValue, type RandomInput, type WeightSpec } from "../nn/layer.ts";
import { classesOf, type Loss } from "../nn/losses/loss.ts";
import { type BuiltNetwork, buildNetwork, type Network } from "../nn/network.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { OPSET } from "../onnx/graph.ts";
import { lowerColumnConv } from "../onnx/passes/lower-column-conv.ts";
import { poolBeforeActivation } from "../onnx/passes/pool-before-activation.ts";
import { poolInPhases } from "../onnx/passes/pool-in-phases.ts";
import { trimBorders } from "../onnx/passes/trim-borders.ts";
import { ONNX_TYPE, writeModel } from "../onnx/proto.ts";
import { joinGradients } from "../optim/clipping.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { Datatype } from "../tensor/datatype.ts";
import { constrainWeights } from "./constrain-weights.ts";
import { layoutOf, type WeightLayout } from "./weight-layout.ts";

export type StepOptions = {
  network: Network;
  loss: Loss;
  batchSize: number;
  /** Element type of the data as it is fed; cast to FP32 in the graph. */
  featureType: Datatype;
};

/** Weights of a network, found by building it once. */
export type WeightPlan = {
  trained: WeightSpec[];
  statistics: WeightSpec[];
  trainedLayout: WeightLayout;
  statisticsLayout: WeightLayout;
  /** Shape of the network's output for a batch of one. */
  outputShape: number[];
};

export function planWeights(network: Network): WeightPlan {
  const graph = new GraphBuilder(network.name);
  const input = graph.input(network.inputs[0]!.name, "FP32", [1, ...network.inputs[0]!.shape]);
  const built = buildNetwork(network, graph, [input], {
    training: false,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  const trained = built.weights.filter((spec) => spec.trainable);
  // Appended to be refused here, where nothing has been paid for yet, if they do not fit their weights.
  penalised(graph, graph.scalar(0), built.penalties);
  constrainWeights(graph, graph.input("flat", "FP32", [layoutOf(trained).size]), trained);
  const statistics = built.weights.filter((spec) => !spec.trainable);
  return {
    trained,
    statistics,
    trainedLayout: layoutOf(trained),
    statisticsLayout: layoutOf(statistics),
    outputShape: built.outputs[0]!.value.shape as number[],
  };
}

export type TrainingStep = {
  bytes: Uint8Array;
  randomInputs: RandomInput[];
};

/**
 * The training step. Inputs: features [batch, …], labels [batch] INT64, weights, statistics (if any), slot/<name>…,
 * scalars [n], and one mask per random input. Outputs: loss [] (batch mean), correct [] (rows whose largest output
 * is the label), weights_next, statistics_next, slot_next/<name>….
 */
export function compileTrainingStep(
  plan: WeightPlan,
  options: StepOptions,
  optimizer: Optimizer,
): TrainingStep {
  if (plan.trainedLayout.size === 0)
    throw new InvalidModelError("architecture", "the network has no weights to train");
  const graph = new GraphBuilder(`${options.network.name}_training`);
  const step = appendForward(graph, plan, options, true);
  simplifyForward(graph, step);
  const held = heldValues(step);
  poolInPhases(graph, new Set(plan.trained.map((spec) => step.weights.get(spec.name)!.name)), held);

  const parameters = plan.trained.map((spec) => step.weights.get(spec.name)!);
  const found = gradients(graph, step.loss, parameters);
  const gradient = joinGradients(graph, found, optimizer.clipping);

  const slots = optimizer.slots.map((name) => graph.input(`slot/${name}`, "FP32", [plan.trainedLayout.size]));
  const scalarVector = graph.input("scalars", "FP32", [optimizer.scalarCount]);
  const scalars = Array.from({ length: optimizer.scalarCount }, (_, i) =>
    graph.op("Squeeze", [
      graph.op("Slice", [scalarVector, graph.ints([i]), graph.ints([i + 1]), graph.ints([0])]),
      graph.ints([0]),
    ]),
  );
  const next = optimizer.update(graph, { weights: step.flatWeights, gradient, slots, scalars });

  graph.output(step.loss, "loss");
  graph.output(step.correct, "correct");
  graph.output(constrainWeights(graph, next.weights, plan.trained), "weights_next");
  for (const [i, name] of optimizer.slots.entries()) graph.output(next.slots[i]!, `slot_next/${name}`);
  if (plan.statistics.length > 0) {
    const updated = plan.statistics.map((spec) => {
      const value = step.updates.get(spec.name) ?? step.weights.get(spec.name)!;
      return graph.op("Reshape", [value, graph.ints([-1])]);
    });
    graph.output(graph.op("Concat", updated, { axis: 0 }), "statistics_next");
  }
  lowerColumnConv(graph);
  return { bytes: serialise(graph), randomInputs: step.randomInputs };
}

/** The evaluation step. Inputs as above without slots, scalars and masks; outputs loss, correct, prediction. */
export function compileEvaluationStep(plan: WeightPlan, options: StepOptions): Uint8Array {
  const graph = new GraphBuilder(`${options.network.name}_evaluation`);
  const step = appendForward(graph, plan, options, false);
  simplifyForward(graph, step);
  graph.output(step.loss, "loss");
  graph.output(step.correct, "correct");
  graph.output(step.outputs[0]!.value, "prediction");
  return serialise(graph);
}

function appendForward(graph: GraphBuilder, plan: WeightPlan, options: StepOptions, training: boolean) {
  const { network, batchSize } = options;
  const features = graph.input("features", options.featureType, [batchSize, ...network.inputs[0]!.shape]);
  const labels = graph.input("labels", "INT64", [batchSize]);
  const flatWeights = graph.input("weights", "FP32", [plan.trainedLayout.size]);
  const weights = cut(graph, flatWeights, plan.trainedLayout);
  if (plan.statistics.length > 0) {
    const flat = graph.input("statistics", "FP32", [plan.statisticsLayout.size]);
    for (const [name, value] of cut(graph, flat, plan.statisticsLayout)) weights.set(name, value);
  }
  const input =
    options.featureType === "FP32" ? features : graph.op("Cast", [features], { to: ONNX_TYPE.FP32 });
  const built = buildNetwork(network, graph, [input], {
    training,
    weightValue: (spec) => weights.get(spec.name)!,
  });
  const loss = penalised(graph, options.loss.append(graph, built.outputs[0]!, labels), built.penalties);
  return {
    ...built,
    flatWeights,
    weights,
    loss,
    correct: countCorrect(graph, built.outputs[0]!, labels, options.loss),
  };
}

/** Rewrites the forward graph into less work with the same results. */
function simplifyForward(graph: GraphBuilder, step: Forward): void {
  const keep = heldValues(step);
  poolBeforeActivation(graph, keep);
  trimBorders(graph, keep);
}

type Forward = ReturnType<typeof appendForward>;

/** Names of the values that are read outside the network's own nodes. */
function heldValues(step: Forward): Set<string> {
  const held = [
    step.outputs[0]!.value,
    step.outputs[0]!.logits?.value,
    step.loss,
    step.correct,
    ...step.updates.values(),
  ];
  return new Set(held.flatMap((value) => (value ? [value.name] : [])));
}

/** The loss with the network's penalties. */
function penalised(graph: GraphBuilder, loss: Value, penalties: BuiltNetwork["penalties"]): Value {
  return penalties.reduce((total, penalty) => {
    const value = penalty();
    return value ? graph.op("Add", [total, value]) : total;
  }, loss);
}

/** Cuts a flat vector into its named weights. */
function cut(graph: GraphBuilder, flat: Value, layout: WeightLayout): Map<string, Value> {
  const sizes = layout.slices.map((slice) => slice.size);
  const parts =
    sizes.length === 1 ? [flat] : graph.ops("Split", [flat, graph.ints(sizes)], sizes.length, { axis: 0 });
  return new Map(
    layout.slices.map((slice, i) => [slice.name, graph.op("Reshape", [parts[i]!, graph.ints(slice.shape)])]),
  );
}

/** How many rows give their largest score to the class; one output says the second class when it is high. */
function countCorrect(graph: GraphBuilder, output: LayerValue, labels: Value, loss: Loss): Value {
  const scores = output.logits?.value ?? output.value;
  const best =
    classesOf(output) === 1
      ? isSecondClass(graph, output, loss)
      : graph.op("ArgMax", [scores], { axis: -1, keepdims: 0 });
  const hits = graph.op("Cast", [graph.op("Equal", [best, labels])], { to: ONNX_TYPE.FP32 });
  return graph.op("ReduceSum", [hits], { keepdims: 0 });
}

/** [batch], INT64: 1 where the single output is beyond the middle of its range. */
function isSecondClass(graph: GraphBuilder, output: LayerValue, { scores }: Loss): Value {
  const middle = graph.scalar(scores === "logits" ? 0 : 0.5);
  const high = graph.op("Greater", [inKerasOrder(graph, output), middle]);
  return graph.op("Squeeze", [graph.op("Cast", [high], { to: ONNX_TYPE.INT64 }), graph.ints([1])]);
}

function serialise(graph: GraphBuilder): Uint8Array {
  return writeModel({ graph: graph.build(), opsets: { "": OPSET }, producer: "moiety", metadata: {} });
}
