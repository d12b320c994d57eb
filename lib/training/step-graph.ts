/**
 * Compiles a declared network into the ONNX graphs a run executes, for one batch size:
 * the training step (forward, loss, backward, optimiser update) and the evaluation step (forward, loss).
 *
 * All trained weights travel as one flat vector `weights`, moving statistics as `statistics`, and each optimiser
 * slot as one vector: few tensors cross into the runtime, and the update is a handful of long vector operations.
 * Where the update is computed outside (fused-update.ts), weights come and gradients go in pieces of the flat vector.
 */

import { gradients } from "../autodiff/backward.ts";
import type { Ends } from "../data/bind-examples.ts";
import type { ExamplesSpec } from "../data/examples.ts";
import { InvalidModelError } from "../errors.ts";
import { inKerasOrder, kerasShape, type LayerValue, type RandomInput, type WeightSpec } from "../nn/layer.ts";
import { type BuiltNetwork, buildNetwork, type Network } from "../nn/network.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { opsetsOf } from "../onnx/channel-blocks.ts";
import { lowerColumnConv } from "../onnx/passes/lower-column-conv.ts";
import { lowerSequences } from "../onnx/passes/lower-sequences.ts";
import { poolBeforeActivation } from "../onnx/passes/pool-before-activation.ts";
import { poolInPhases } from "../onnx/passes/pool-in-phases.ts";
import { pruned } from "../onnx/passes/prune.ts";
import { spreadScalars } from "../onnx/passes/spread-scalars.ts";
import { trimBorders } from "../onnx/passes/trim-borders.ts";
import { ONNX_TYPE, writeModel } from "../onnx/proto.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { constrainWeights } from "./constrain-weights.ts";
import { appendMeasures, type Objective } from "./objective.ts";
import { layoutOf, pieceShape, piecesOf, type WeightLayout } from "./weight-layout.ts";

export type StepSpec = {
  network: Network;
  objective: Objective;
  batchSize: number;
  /** What is fed, in the order of the network's inputs and outputs; cast in the graph to what the network takes. */
  data: ExamplesSpec;
  /** How many channels a block has where the graph will run; undefined: it shall run anywhere. */
  channelBlock?: number | undefined;
};

/** Weights of a network, found by building it once. */
export type WeightPlan = {
  trained: WeightSpec[];
  statistics: WeightSpec[];
  trainedLayout: WeightLayout;
  statisticsLayout: WeightLayout;
  /** Shapes of the network's outputs for a batch of one, as Keras states them. */
  outputShapes: number[][];
  /** What the ids of each input have to be below; undefined: it holds no ids. */
  idLimits: (number | undefined)[];
};

export function planWeights(network: Network): WeightPlan {
  const graph = new GraphBuilder(network.name);
  const inputs = network.inputs.map(({ name, datatype, shape }) =>
    graph.input(name, datatype, [1, ...shape]),
  );
  const built = buildNetwork(network, graph, inputs, {
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
    outputShapes: built.outputs.map((output) => kerasShape(output) as number[]),
    idLimits: inputs.map(({ name }) => built.idLimits.get(name)),
  };
}

/** What examples must fit. */
export function endsOf({ inputs, outputs }: Network, { outputShapes, idLimits }: WeightPlan): Ends {
  return {
    inputs: inputs.map(({ name, shape }, i) => ({ name, shape, idLimit: idLimits[i] })),
    outputs: outputs.map(({ name }, i) => ({ name, shape: outputShapes[i]!.slice(1) })),
  };
}

export type TrainingStep = {
  bytes: Uint8Array;
  randomInputs: RandomInput[];
};

/**
 * The training step. Inputs: input/<name> [batch, …] for every input of the network, target/<name> for every output,
 * example_weights [batch] (if the data has them), weights, statistics (if any), slot/<name>…, scalars [n], and one
 * mask per random input. Outputs: loss [] (batch mean), measures (see objective.ts), weights_next, statistics_next,
 * slot_next/<name>…. Without an optimiser, no slots nor scalars, and gradient/<i>, piece by piece, in place of
 * weights_next.
 */
export function compileTrainingStep(
  plan: WeightPlan,
  options: StepSpec,
  optimizer: Optimizer | undefined,
): TrainingStep {
  if (plan.trainedLayout.size === 0)
    throw new InvalidModelError("architecture", "the network has no weights to train");
  const graph = new GraphBuilder(`${options.network.name}_training`);
  const step = appendForward(graph, plan, options, true, optimizer === undefined);
  simplifyForward(graph, step);
  const held = heldValues(step);
  poolInPhases(graph, new Set(plan.trained.map((spec) => step.weights.get(spec.name)!.name)), held);

  const parameters = plan.trained.map((spec) => step.weights.get(spec.name)!);
  const found = gradients(graph, step.loss, parameters);
  const gradientOf = new Map(plan.trained.map(({ name }, i) => [name, found[i]!]));

  graph.output(step.loss, "loss");
  graph.output(step.measures, "measures");
  if (optimizer && step.flatWeights)
    appendUpdate(graph, plan, optimizer, step.flatWeights, joined(graph, found));
  else
    for (const [i, { slices }] of piecesOf(plan.trainedLayout).entries()) {
      const parts = slices.map(({ name }) => gradientOf.get(name)!);
      graph.output(parts.length === 1 ? parts[0]! : joined(graph, parts), `gradient/${i}`);
    }
  if (plan.statistics.length > 0) {
    const updated = plan.statistics.map(
      (spec) => step.updates.get(spec.name) ?? step.weights.get(spec.name)!,
    );
    graph.output(joined(graph, updated), "statistics_next");
  }
  // Last: nodes of the runtime's own layout have no shape rules, so no pass can come after it.
  lowerSequences(graph);
  lowerColumnConv(graph, options.channelBlock);
  return { bytes: serialise(graph), randomInputs: step.randomInputs };
}

/** One flat vector of them all. */
function joined(graph: GraphBuilder, values: readonly Value[]): Value {
  const flat = values.map((value) => graph.op("Reshape", [value, graph.ints([-1])]));
  return flat.length === 1 ? flat[0]! : graph.op("Concat", flat, { axis: 0 });
}

/** The optimiser's slots and scalars in, weights_next and slot_next/<name>… out. */
function appendUpdate(
  graph: GraphBuilder,
  plan: WeightPlan,
  optimizer: Optimizer,
  weights: Value,
  gradient: Value,
): void {
  const slots = optimizer.slots.map((name) => graph.input(`slot/${name}`, "FP32", [plan.trainedLayout.size]));
  const scalarVector = graph.input("scalars", "FP32", [optimizer.scalarCount]);
  const scalars = Array.from({ length: optimizer.scalarCount }, (_, i) =>
    graph.op("Squeeze", [
      graph.op("Slice", [scalarVector, graph.ints([i]), graph.ints([i + 1]), graph.ints([0])]),
      graph.ints([0]),
    ]),
  );
  const sizes = plan.trainedLayout.slices.map(({ size }) => size);
  const next = optimizer.update(graph, { sizes, weights, gradient, slots, scalars });
  graph.output(constrainWeights(graph, next.weights, plan.trained), "weights_next");
  for (const [i, name] of optimizer.slots.entries()) graph.output(next.slots[i]!, `slot_next/${name}`);
}

/** The evaluation step. Inputs as above without slots, scalars and masks; outputs loss, measures, prediction/<name>…. */
export function compileEvaluationStep(plan: WeightPlan, options: StepSpec): Uint8Array {
  const graph = new GraphBuilder(`${options.network.name}_evaluation`);
  const step = appendForward(graph, plan, options, false);
  simplifyForward(graph, step);
  graph.output(step.loss, "loss");
  graph.output(step.measures, "measures");
  for (const [i, { name }] of options.network.outputs.entries())
    graph.output(inKerasOrder(graph, step.outputs[i]!), `prediction/${name}`);
  return serialise(graph);
}

/**
 * The forward graph and what is measured of it, as both kinds of step have it. Trained weights are one input, `weights`,
 * or piece by piece weights/<i>.
 */
export function appendForward(
  graph: GraphBuilder,
  plan: WeightPlan,
  options: StepSpec,
  training: boolean,
  pieces = false,
) {
  const { network, objective, batchSize, data } = options;
  const inputs = network.inputs.map(({ name, shape, datatype }, i) => {
    const fed = graph.input(`input/${name}`, data.inputs[i]!.datatype, [batchSize, ...shape]);
    return castTo(graph, fed, datatype);
  });
  const targets = network.outputs.map(({ name }, i) => {
    const { datatype, shape, labelNames } = data.targets[i]!;
    const fed = graph.input(`target/${name}`, datatype, [batchSize, ...shape]);
    return castTo(graph, fed, labelNames ? "INT64" : "FP32");
  });
  const exampleWeights = data.weights && graph.input("example_weights", "FP32", [batchSize]);
  const { flatWeights, weights } = pieces
    ? { flatWeights: undefined, weights: inPieces(graph, plan.trainedLayout) }
    : inOneVector(graph, plan.trainedLayout);
  if (plan.statistics.length > 0) {
    const flat = graph.input("statistics", "FP32", [plan.statisticsLayout.size]);
    for (const [name, value] of cut(graph, flat, plan.statisticsLayout)) weights.set(name, value);
  }
  const built = buildNetwork(network, graph, inputs, {
    training,
    weightValue: (spec) => weights.get(spec.name)!,
  });
  const measured = appendMeasures(graph, objective, built.outputs, targets, { exampleWeights, training });
  const loss = penalised(graph, measured.loss, built.penalties);
  return { ...built, flatWeights, weights, ...measured, loss };
}

function castTo(graph: GraphBuilder, value: Value, datatype: "FP32" | "INT32" | "INT64"): Value {
  return value.datatype === datatype ? value : graph.op("Cast", [value], { to: ONNX_TYPE[datatype] });
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
  const ends = ({ value, logits, mask }: LayerValue) => [value, logits?.value, mask];
  const held = [...step.outputs.flatMap(ends), step.loss, step.measures, ...step.updates.values()];
  return new Set(held.flatMap((value) => (value ? [value.name] : [])));
}

/** The loss with the network's penalties. */
function penalised(graph: GraphBuilder, loss: Value, penalties: BuiltNetwork["penalties"]): Value {
  return penalties.reduce((total, penalty) => {
    const value = penalty();
    return value ? graph.op("Add", [total, value]) : total;
  }, loss);
}

function inOneVector(graph: GraphBuilder, layout: WeightLayout) {
  const flatWeights = graph.input("weights", "FP32", [layout.size]);
  return { flatWeights, weights: cut(graph, flatWeights, layout) };
}

function inPieces(graph: GraphBuilder, layout: WeightLayout): Map<string, Value> {
  const named = piecesOf(layout).flatMap((piece, i) => {
    const fed = graph.input(`weights/${i}`, "FP32", pieceShape(piece));
    return piece.slices.length === 1 ? [[piece.slices[0]!.name, fed] as const] : [...cut(graph, fed, piece)];
  });
  return new Map(named);
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

export function serialise(graph: GraphBuilder): Uint8Array {
  spreadScalars(graph);
  const built = pruned(graph.build());
  return writeModel({ graph: built, opsets: opsetsOf(built), producer: "moiety", metadata: {} });
}
