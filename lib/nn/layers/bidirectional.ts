/**
 * Bidirectional (Schuster and Paliwal 1997): a recurrent layer and another of its kind that reads the steps from the
 * last to the first, their outputs merged. As Keras does, a sequence is zero where its mask is false.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import { type ConfigReader, kerasObject } from "../config-reader.ts";
import type { ApplyLayer, CallArguments, LayerContext, LayerDefinition, LayerValue } from "../layer.ts";
import { turned } from "./sequence.ts";

const RECURRENT = ["SimpleRNN", "LSTM", "GRU"];

const MERGES: Readonly<Record<string, (c: LayerContext, a: Value, b: Value) => Value>> = {
  concat: ({ graph }, a, b) => graph.op("Concat", [a, b], { axis: a.shape.length - 1 }),
  sum: ({ graph }, a, b) => graph.op("Add", [a, b]),
  mul: ({ graph }, a, b) => graph.op("Mul", [a, b]),
  ave: ({ graph }, a, b) => graph.op("Mul", [graph.op("Add", [a, b]), graph.scalar(0.5)]),
};

type Options = Record<string, unknown>;

const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const option = (config: Options, name: string) => config[name] ?? config[camel(name)] ?? false;

/** The config with an option set, in whichever spelling it was. */
function withOption(config: Options, name: string, value: unknown): Options {
  const { [name]: _, [camel(name)]: __, ...others } = config;
  return { ...others, [name]: value };
}

export const bidirectional: LayerDefinition = (config, readLayer) => {
  const declared = (name: "layer" | "backward_layer") => {
    const given = config.raw(name);
    if (given === undefined) return undefined;
    const object = kerasObject(given, `${config.where}.${name}`);
    if (!RECURRENT.includes(object.class_name))
      config.refuse(name, object.class_name, `one of ${RECURRENT.join(", ")}`);
    return { class_name: object.class_name, config: object.config as Options };
  };
  const forward = declared("layer") ?? config.refuse("layer", undefined, "a recurrent layer");
  const backward = declared("backward_layer") ?? {
    ...forward,
    config: withOption(forward.config, "go_backwards", true),
  };
  const merge = readMerge(config, config.states("merge_mode") ? config.raw("merge_mode") : "concat");
  for (const name of ["return_sequences", "return_state"])
    if (option(forward.config, name) !== option(backward.config, name))
      config.refuse("backward_layer", option(backward.config, name), `${name} as the forward layer has it`);
  if (option(forward.config, "go_backwards") === option(backward.config, "go_backwards"))
    config.refuse("backward_layer", option(backward.config, "go_backwards"), "the other go_backwards");
  const sequences = option(forward.config, "return_sequences") === true;
  const states = option(forward.config, "return_state") === true;
  const read = (layer: typeof forward, prefix: string, place: string) => {
    const name = typeof layer.config.name === "string" ? layer.config.name : layer.class_name.toLowerCase();
    const plain = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    const named = {
      ...withOption(layer.config, "zero_output_for_mask", sequences),
      name: `${prefix}${plain}`,
    };
    return readLayer({ class_name: layer.class_name, config: named }, `${config.where}.${place}`);
  };
  const layers = [
    read(forward, "forward_", "layer"),
    // A backward layer that is declared keeps its name, as in Keras.
    read(backward, config.raw("backward_layer") === undefined ? "backward_" : "", "backward_layer"),
  ] as const;
  config.ignore("weights");

  return (c, inputs, call) => {
    const { tensors, options } = call;
    const given = [...inputs.slice(1), ...(tensors.get("initial_state") ?? [])];
    if (given.length % 2 !== 0)
      throw new InvalidModelError(
        "initial_state",
        `received ${given.length} tensors, expected as many for each side`,
      );
    const [[a, ...stateA], [b, ...stateB]] = layers.map((layer, side) => {
      const half = given.slice((side * given.length) / 2, ((side + 1) * given.length) / 2);
      const ownTensors = new Map(tensors);
      if (half.length > 0) ownTensors.set("initial_state", half);
      const ownCall: CallArguments = { tensors: ownTensors, options };
      return applied(layer.apply, c.within(layer.name, { frozen: layer.frozen }), inputs[0]!, ownCall);
    }) as [[LayerValue, ...LayerValue[]], [LayerValue, ...LayerValue[]]];
    const back: LayerValue = sequences ? { ...b, value: turned(c.graph, b.value) } : b;
    const outputs: LayerValue[] = merge ? [{ ...a, value: merge(c, a.value, back.value) }] : [a, back];
    return states ? [...outputs, ...stateA, ...stateB] : outputs;
  };
};

function applied(apply: ApplyLayer, c: LayerContext, x: LayerValue, call: CallArguments): LayerValue[] {
  return [apply(c, [x], call)].flat() as LayerValue[];
}

/** Undefined: both outputs as they are. */
function readMerge(
  config: ConfigReader,
  mode: unknown,
): ((c: LayerContext, a: Value, b: Value) => Value) | undefined {
  if (mode === undefined) return undefined;
  if (typeof mode === "string" && Object.hasOwn(MERGES, mode)) return MERGES[mode];
  return config.refuse("merge_mode", mode, `null or one of ${Object.keys(MERGES).join(", ")}`);
}
