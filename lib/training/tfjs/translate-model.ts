/**
 * A declared network in the dialect of Keras JSON that TensorFlow.js reads (Keras 2's), for the engine "tfjs".
 *
 * The last softmax or sigmoid of an output is left out, so that losses are computed from the scores before it, as
 * exactly as on the other engine; which it was is said beside. Refused by name: what TensorFlow.js does not have or
 * computes otherwise. The network has been read by parseNetwork before, so it is known to be well declared.
 */

import { InvalidModelError, UnknownLayerError } from "../../errors.ts";
import { ConfigReader, kerasObject } from "../../nn/config-reader.ts";
import {
  type DeclaredObject,
  nameOf,
  readInput,
  readLayers,
  statesShape,
  uniqueName,
} from "../../nn/declared-object.ts";
import { type InboundNode, readEnds, readInboundNodes, type TensorRef } from "../../nn/inbound-nodes.ts";
import { nearest } from "../../nn/nearest.ts";
import type { KerasObject } from "../../protocol/jobs.ts";
import { LEFT_OUT, TFJS_ACTIVATIONS, TFJS_LAYERS } from "./layers.ts";

/** Our own layers, which take the places of TensorFlow.js's. */
export const DROPOUT = "StreamDropout";
export const FLATTEN = "AnyFlatten";
export const FROZEN_BATCH_NORMALIZATION = "FrozenBatchNormalization";

/** What an output's scores go through at last. */
export type LastActivation = "softmax" | "sigmoid";

export type TranslatedModel = {
  topology: KerasObject;
  /** Of each output; undefined: the output is as the network gives it. */
  activations: (LastActivation | undefined)[];
};

/** Weights that TensorFlow.js would draw. */
const DRAWN = ["kernel", "recurrent", "depthwise", "embeddings"];
const ZEROS: KerasObject = { class_name: "Zeros", config: {} };
const ONLY_ONNX = `engine "onnx" has it`;

/** @throws {UnknownLayerError} {InvalidModelError} naming the layer and the option */
export function translateModel(architecture: unknown): TranslatedModel {
  const { class_name: className, config } = kerasObject(architecture, "architecture");
  const reader = new ConfigReader("architecture.config", config);
  const frozen = reader.raw("trainable") === false;
  const declared = readLayers(reader, "architecture");
  return className === "Sequential"
    ? translateSequential(declared, frozen)
    : translateFunctional(declared, frozen, reader);
}

function translateSequential(declared: readonly DeclaredObject[], frozen: boolean): TranslatedModel {
  const first = declared[0]!;
  const names = new Set<string>();
  const body = statesShape(first) && first.class_name === "InputLayer" ? declared.slice(1) : declared;
  const layers = body.map((object) =>
    translateLayer(object, uniqueName(nameOf(object), object.class_name, names), frozen),
  );
  const activation = takeLastActivation(layers.at(-1)!);
  const input = inputLayer(first, "input_of_the_model");
  return { topology: model("Sequential", { layers: [input, ...layers] }), activations: [activation] };
}

function translateFunctional(
  declared: readonly DeclaredObject[],
  frozen: boolean,
  reader: ConfigReader,
): TranslatedModel {
  const names = new Set<string>();
  const nodes = new Map<string, InboundNode[]>();
  const layers = declared.map((object) => {
    const name = uniqueName(nameOf(object), object.class_name, names);
    const applications = readInboundNodes(object.inbound_nodes, `layer '${name}'.inbound_nodes`);
    nodes.set(name, applications);
    const isInput = object.class_name === "InputLayer";
    const layer = isInput ? inputLayer(object, name) : translateLayer(object, name, frozen);
    return { ...layer, name, inbound_nodes: applications.map((node) => translateNode(node, name)) };
  });
  const outputs = readEnds(reader.raw("output_layers"), "output_layers");
  const inputs = readEnds(reader.raw("input_layers"), "input_layers");
  const read = [...nodes.values()].flat().flatMap((node) => node.inputs.map(({ layer }) => layer));
  const ends = outputs.map(({ layer }) => layer);
  const activations = ends.map((name) => {
    const alone = nodes.get(name)?.length === 1 && !read.includes(name);
    const once = ends.filter((other) => other === name).length === 1;
    const layer = layers.find((candidate) => candidate.name === name);
    return alone && once && layer ? takeLastActivation(layer) : undefined;
  });
  const triple = ({ layer, application, output }: TensorRef) => [layer, application, output];
  const config = { layers, input_layers: inputs.map(triple), output_layers: outputs.map(triple) };
  return { topology: model("Model", config), activations };
}

const model = (class_name: string, config: Record<string, unknown>): KerasObject => ({
  class_name,
  config: { name: "model", ...config },
});

function translateNode({ inputs, tensors, options }: InboundNode, layer: string): unknown[] {
  // Whether a layer trains is up to the step.
  for (const name of [...tensors.keys(), ...options.keys()])
    if (name !== "training")
      throw new InvalidModelError(`layer '${layer}'.inbound_nodes`, `argument '${name}': ${ONLY_ONNX}`);
  return inputs.map((ref) => [ref.layer, ref.application, ref.output, {}]);
}

function inputLayer(object: KerasObject, name: string): KerasObject {
  const { shape, datatype } = readInput(object);
  const dtype = datatype === "INT32" ? "int32" : "float32";
  return { class_name: "InputLayer", config: { name, batch_input_shape: [null, ...shape], dtype } };
}

function translateLayer({ class_name, config }: KerasObject, name: string, frozen: boolean): KerasObject {
  const entry = Object.hasOwn(TFJS_LAYERS, class_name) ? TFJS_LAYERS[class_name]! : undefined;
  if (!entry) {
    const known = Object.keys(TFJS_LAYERS);
    const error = new UnknownLayerError(class_name, nearest(class_name, known), known);
    throw new InvalidModelError(`layer '${name}'`, `engine "tfjs": ${error.message}; ${ONLY_ONNX}`);
  }
  const translated: Record<string, unknown> = { name, ...entry.defaults };
  for (const [key, value] of Object.entries(config ?? {})) {
    const option = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (value === null || value === undefined || isLeftOut(option)) continue;
    const allowed = entry.only?.[option];
    if (allowed && !allowed.some((one) => JSON.stringify(one) === JSON.stringify(value)))
      refuse(name, option, value, `one of ${allowed.map((one) => JSON.stringify(one)).join(", ")}`);
    if (entry.options.includes(option))
      translated[option] = option.endsWith("activation") ? activationOf(name, value) : value;
    else if (!allowed) refuse(name, option, value, "null");
  }
  if (class_name === "Reshape" && (config.target_shape as unknown[])?.includes?.(-1))
    refuse(name, "target_shape", config.target_shape, "sizes that are all known");
  // Values come afterwards; drawing others first would take its time.
  for (const name of entry.drawn ?? DRAWN) translated[`${name}_initializer`] = ZEROS;
  return { class_name: classOf(class_name, frozen || config?.trainable === false), config: translated };
}

function classOf(className: string, frozen: boolean): string {
  if (className === "Dropout") return DROPOUT;
  if (className === "Flatten") return FLATTEN;
  return className === "BatchNormalization" && frozen ? FROZEN_BATCH_NORMALIZATION : className;
}

const isLeftOut = (option: string) => LEFT_OUT.includes(option) || option.endsWith("_initializer");

function activationOf(layer: string, value: unknown): string {
  const { class_name: name, config } = kerasObject(value, `layer '${layer}'.activation`);
  const plain = name.toLowerCase();
  const found = Object.hasOwn(TFJS_ACTIVATIONS, plain) ? TFJS_ACTIVATIONS[plain] : undefined;
  if (found && Object.keys(config).every((option) => ["name", "trainable", "dtype"].includes(option)))
    return found;
  return refuse(layer, "activation", value, `one of ${Object.keys(TFJS_ACTIVATIONS).join(", ")}`);
}

/** Leaves the layer's softmax or sigmoid to what reads its scores. */
function takeLastActivation({ config }: KerasObject): LastActivation | undefined {
  const { activation } = config;
  if (activation !== "softmax" && activation !== "sigmoid") return undefined;
  config.activation = "linear";
  return activation;
}

function refuse(layer: string, option: string, received: unknown, expected: string): never {
  throw new InvalidModelError(
    `layer '${layer}'.${option}`,
    `received ${JSON.stringify(received)}, the engine "tfjs" takes ${expected}; ${ONLY_ONNX}`,
  );
}
