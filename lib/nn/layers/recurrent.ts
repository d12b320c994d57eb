/**
 * What SimpleRNN, GRU and LSTM share: their options, read in every dialect, and the way from an input to the output
 * and the states that Keras gives.
 *
 * The projection of all inputs is one matrix product outside the recurrence; the recurrence itself is a sequence
 * operator (lib/onnx/sequence-cells.ts), or, in graphs that do not train and without a mask, ONNX's own operator.
 *
 * Accepted without effect: unroll, use_cudnn, seed. Refused: stateful, time_major. As in Keras, dropout of the input
 * drops the same elements for all gates; with recurrent dropout, or implementation 1, each gate drops its own.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { GATE_ACTIVATIONS } from "../../onnx/gate-activations.ts";
import type { Attributes } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { appendSequence, partsOf, type SequenceOp } from "../../onnx/sequence-cells.ts";
import type { ConfigReader } from "../config-reader.ts";
import { lookUp } from "../config-reader.ts";
import type { ApplyLayer, CallArguments, LayerContext, LayerValue } from "../layer.ts";
import { inKerasOrder } from "../layer.ts";
import { affine } from "./affine.ts";
import { type DeclaredWeight, readWeight, refusePenalties } from "./common.ts";
import { afterFirst, maskOfSteps, STEPS_FIRST, stepsFirst, turned, zeroState } from "./sequence.ts";

/** Weights as the cell's sequence operator and ONNX's operator take them. */
export type CellWeights = {
  kernel: Value;
  recurrent: Value;
  /** Added to the projected inputs. */
  bias: Value | undefined;
  /** Added to the recurrent candidate (GRU). */
  recurrentBias?: Value | undefined;
};

export type Cell = {
  op: SequenceOp;
  onnx: "RNN" | "GRU" | "LSTM";
  gates: number;
  states: 1 | 2;
  /** ONNX's order of gates in terms of Keras's. */
  onnxGates: readonly number[];
  /** ONNX's activations: whether each is of the gates or of the candidate. */
  onnxActivations: readonly ("gate" | "candidate")[];
  attributes: Attributes;
  onnxAttributes: Attributes;
  /** Bias of the cell as a layer's weight. */
  declareBias: (c: LayerContext, bias: DeclaredWeight, units: number) => Value;
  /** What of the bias is added where. */
  partBias: (
    graph: GraphBuilder,
    bias: Value,
    units: number,
  ) => { bias: Value; recurrentBias?: Value | undefined; onnx: Value };
};

/** What a recurrent layer may be called with. */
export const RECURRENT_ARGUMENTS = ["initial_state", "mask"];

export type RecurrentOptions = { units: number; activations: readonly [gate: string, candidate: string] };

function readActivationName(config: ConfigReader, name: string, fallback: string): string {
  const declared = config.component(name, fallback);
  if (Object.keys(declared.config).length > 0)
    config.refuse(name, declared, "an activation by name, without options");
  const table = Object.fromEntries(Object.keys(GATE_ACTIVATIONS).map((known) => [known, known]));
  return lookUp(table, "activation of a recurrent layer", declared.class_name);
}

/** Reads what all recurrent layers have; `cellOf` reads the rest. */
export function recurrent(
  config: ConfigReader,
  withGates: boolean,
  cellOf: (options: RecurrentOptions) => Cell,
): ApplyLayer {
  const units = config.integer("units", {});
  const candidate = readActivationName(config, "activation", "tanh");
  const gate = withGates ? readActivationName(config, "recurrent_activation", "sigmoid") : "linear";
  const useBias = config.boolean("use_bias", true);
  const declared = {
    kernel: readWeight(config, "kernel", "GlorotUniform"),
    recurrent: readWeight(config, "recurrent", "Orthogonal"),
    bias: readWeight(config, "bias", "Zeros"),
  };
  const dropout = config.number("dropout", { fallback: 0, min: 0, below: 1 });
  const recurrentDropout = config.number("recurrent_dropout", { fallback: 0, min: 0, below: 1 });
  const returnSequences = config.boolean("return_sequences", false);
  const returnState = config.boolean("return_state", false);
  const reverse = config.boolean("go_backwards", false);
  const zeroOutput = config.boolean("zero_output_for_mask", false);
  config.unset("stateful", false);
  config.unset("time_major", false);
  config.ignore("unroll", "use_cudnn", "seed", "input_length", "input_dim");
  const dropsByGate = config.raw("implementation") === 1 || recurrentDropout > 0;
  refusePenalties(config);
  const cell = cellOf({ units, activations: [gate, candidate] });

  return (c, inputs, call) => {
    const { graph } = c;
    const [x] = inputs;
    const steps = stepsFirst(graph, x!);
    const depth = steps.shape[2] as number;
    const trainable = true;
    const width = cell.gates * units;
    const kernel = c.weight({
      name: "kernel",
      shape: [depth, width],
      ...declared.kernel,
      fans: { fanIn: depth, fanOut: width },
      trainable,
    });
    const matrix = c.weight({
      name: "recurrent_kernel",
      shape: [units, width],
      ...declared.recurrent,
      fans: { fanIn: units, fanOut: width },
      trainable,
    });
    const given = useBias ? cell.declareBias(c, declared.bias, units) : undefined;
    const bias = given && cell.partBias(graph, given, units);
    if (call.options.get("training") === true)
      throw new InvalidModelError(
        "training",
        "received true, expected false or null: the graph says whether",
      );
    const initial = initialStates(graph, inputs, call, cell.states, units);
    // Called with states too, Keras 3 leaves the input's own mask unread (Keras 2, which writes states as inputs, does
    // not) and hands it on all the same.
    const unread = call.tensors.has("initial_state") && !call.tensors.has("mask");
    const counts = unread ? undefined : x!.mask;
    const mask = counts && maskOfSteps(graph, counts);
    const activations = [gate, candidate] as const;

    let all: Value;
    let last: Value[];
    if (!c.training && !mask) {
      const onnx = { kernel, matrix, bias: bias?.onnx, initial };
      [all, ...last] = appendOnnx(graph, cell, steps, onnx, { units, reverse, activations }) as [
        Value,
        ...Value[],
      ];
    } else {
      const batch = steps.shape[1]!;
      const ownMasks = dropsByGate ? cell.gates : 1;
      const keepInputs = keepMask(c, dropout, [batch, ownMasks * depth]);
      const states = initial ?? Array.from({ length: cell.states }, () => zeroState(graph, steps, units));
      const taken = [
        projected(graph, steps, kernel, bias?.bias, keepInputs && partsOf(graph, keepInputs, ownMasks)),
        matrix,
        mask,
        keepMask(c, recurrentDropout, [batch, width]),
        states[0],
        states[1] ?? bias?.recurrentBias,
      ];
      while (taken.at(-1) === undefined) taken.pop();
      const attributes = { ...cell.attributes, activations: [...activations], reverse: reverse ? 1 : 0 };
      [all, ...last] = (
        c.training
          ? graph.ops(cell.op, taken, 1 + cell.states, attributes)
          : appendSequence(graph, cell.op, taken, attributes)
      ) as [Value, ...Value[]];
    }

    // Where a step does not count Keras repeats the output before it, which at first is zero, or gives zero.
    let output = returnSequences ? all : last[0]!;
    if (mask && (zeroOutput || initial)) {
      const shown = zeroOutput
        ? graph.op("Cast", [mask], { to: ONNX_TYPE.FP32 })
        : afterFirst(graph, mask, reverse);
      output = graph.op("Mul", [output, returnSequences ? shown : lastStep(graph, shown, reverse)]);
    }
    const sequence = (): LayerValue => ({
      value: reverse ? turned(graph, output) : output,
      order: STEPS_FIRST,
      ...(x!.mask && { mask: x!.mask }),
    });
    const first: LayerValue = returnSequences ? sequence() : { value: output };
    return returnState ? [first, ...last.map((value) => ({ value }))] : first;
  };
}

/** Keras 3 writes the states as an argument, Keras 2 and TensorFlow.js as further inputs. */
function initialStates(
  graph: GraphBuilder,
  inputs: readonly LayerValue[],
  call: CallArguments,
  count: number,
  units: number,
): Value[] | undefined {
  const given = [...inputs.slice(1), ...(call.tensors.get("initial_state") ?? [])];
  if (given.length === 0) return undefined;
  if (given.length !== count)
    throw new InvalidModelError("initial_state", `received ${given.length} tensors, expected ${count}`);
  return given.map((state) => {
    const value = inKerasOrder(graph, state);
    if (value.shape.length !== 2 || value.shape[1] !== units)
      throw new InvalidModelError(
        "initial_state",
        `received [${value.shape.join(",")}], expected [batch,${units}]`,
      );
    return value;
  });
}

/** All inputs by the kernel, the same elements of every step dropped: for all gates alike, or for each its own. */
function projected(
  graph: GraphBuilder,
  x: Value,
  kernel: Value,
  bias: Value | undefined,
  keeps: readonly Value[] | undefined,
): Value {
  if (!keeps) return affine(graph, x, kernel, bias);
  const parts = partsOf(graph, kernel, keeps.length).map((part, i) =>
    affine(graph, graph.op("Mul", [x, keeps[i]!]), part),
  );
  const joined = parts.length === 1 ? parts[0]! : graph.op("Concat", parts, { axis: 2 });
  return bias ? graph.op("Add", [joined, bias]) : joined;
}

/** FP32, 1/(1 - rate) for what is kept; undefined where nothing is dropped. */
function keepMask(c: LayerContext, rate: number, shape: readonly (number | string)[]): Value | undefined {
  if (!c.training || rate === 0) return undefined;
  if (!shape.every((size): size is number => typeof size === "number"))
    throw new InvalidModelError("input", "a training graph needs a fixed batch");
  const kept = c.graph.op("Cast", [c.random({ kind: "keep", rate }, [...shape])], { to: ONNX_TYPE.FP32 });
  return c.graph.op("Mul", [kept, c.graph.scalar(1 / (1 - rate))]);
}

/** [steps, batch, 1] at the step that comes last: [batch, 1]. */
function lastStep(graph: GraphBuilder, x: Value, reverse: boolean): Value {
  const at = reverse ? 0 : (x.shape[0] as number) - 1;
  const cut = graph.op("Slice", [x, graph.ints([at]), graph.ints([at + 1]), graph.ints([0])]);
  return graph.op("Squeeze", [cut, graph.ints([0])]);
}

/** ONNX's operator; gives all states [steps, batch, units] and the last ones, as the sequence operators do. */
function appendOnnx(
  graph: GraphBuilder,
  cell: Cell,
  x: Value,
  weights: {
    kernel: Value;
    matrix: Value;
    bias: Value | undefined;
    initial: readonly Value[] | undefined;
  },
  options: { units: number; reverse: boolean; activations: readonly [gate: string, candidate: string] },
): Value[] {
  const { units, reverse } = options;
  const turnedAbout = (value: Value) => {
    const parts =
      cell.gates === 1
        ? [value]
        : graph.ops("Split", [value], cell.gates, { axis: 1, num_outputs: cell.gates });
    const ordered = cell.onnxGates.map((place) => parts[place]!);
    const joined = ordered.length === 1 ? ordered[0]! : graph.op("Concat", ordered, { axis: 1 });
    return graph.op("Unsqueeze", [graph.op("Transpose", [joined], { perm: [1, 0] }), graph.ints([0])]);
  };
  const states = (weights.initial ?? []).map((state) => graph.op("Unsqueeze", [state, graph.ints([0])]));
  const inputs = [x, turnedAbout(weights.kernel), turnedAbout(weights.matrix), weights.bias];
  const functions = cell.onnxActivations.map(
    (of) => GATE_ACTIVATIONS[options.activations[of === "gate" ? 0 : 1]]!.onnx,
  );
  const numbers = (place: 1 | 2) => functions.flatMap((of) => of[place] ?? []);
  const [alpha, beta] = [numbers(1), numbers(2)];
  const [all, ...last] = graph.ops(
    cell.onnx,
    states.length > 0 ? [...inputs, undefined, ...states] : inputs,
    1 + cell.states,
    {
      hidden_size: units,
      direction: reverse ? "reverse" : "forward",
      activations: functions.map(([name]) => name),
      ...(alpha.length > 0 && { activation_alpha: Float32Array.from(alpha) }),
      ...(beta.length > 0 && { activation_beta: Float32Array.from(beta) }),
      ...cell.onnxAttributes,
    },
  ) as [Value, ...Value[]];
  return [
    graph.op("Squeeze", [all, graph.ints([1])]),
    ...last.map((state) => graph.op("Squeeze", [state, graph.ints([0])])),
  ];
}

/** A bias of the gates side by side, none of it recurrent: [gates·units], in ONNX's order with zeros behind. */
export function plainBias(gates: readonly number[]) {
  return (graph: GraphBuilder, bias: Value, units: number): { bias: Value; onnx: Value } => {
    const count = gates.length;
    const parts = count === 1 ? [bias] : graph.ops("Split", [bias], count, { axis: 0, num_outputs: count });
    const zeros = graph.constant(`zeros_${count * units}`, {
      datatype: "FP32",
      shape: [count * units],
      data: new Float32Array(count * units),
    });
    const joined = graph.op("Concat", [...gates.map((place) => parts[place]!), zeros], { axis: 0 });
    return { bias, onnx: graph.op("Unsqueeze", [joined, graph.ints([0])]) };
  };
}
