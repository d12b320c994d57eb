/**
 * A model as Keras JSON declares it, Sequential or Functional, and every model inside it, parsed and checked once.
 * Dialects: Keras 3 (`batch_shape`), Keras 2 (`batch_input_shape`, "Model"), TensorFlow.js (`batchInputShape`).
 * Refused by name: unknown layers, options and call arguments, models nested out of measure.
 */

import { InvalidModelError, UnknownComponentError, UnknownLayerError } from "../errors.ts";
import { orderApplications, type WiredLayer } from "./application-order.ts";
import { ConfigReader, kerasObject } from "./config-reader.ts";
import {
  type DeclaredObject,
  nameOf,
  readInput,
  readLayer,
  readLayers,
  statesShape,
  uniqueName,
} from "./declared-object.ts";
import { dialectOf, type InboundNode, readEnds, readInboundNodes } from "./inbound-nodes.ts";
import type { DeclaredLayer } from "./layer.ts";
import { CALL_ARGUMENTS, LAYERS, READS_DTYPE, TAKES_SEVERAL } from "./layers/table.ts";
import { applyModel, type Model } from "./model.ts";
import { nearest } from "./nearest.ts";
import { penalised } from "./penalised.ts";
import { readRegularizer } from "./regularizers.ts";
import { shown } from "./shown.ts";

/** Models within models; deeper is no network but an attempt on the stack. */
const MAX_DEPTH = 32;

const MODELS: Readonly<Record<string, (config: ConfigReader, where: string, depth: number) => Model>> = {
  Sequential: parseSequential,
  Functional: parseFunctional,
  Model: parseFunctional,
};

/** @throws {InvalidModelError} {UnknownLayerError} {UnknownComponentError} naming what is wrong and where */
export function parseModel(declared: unknown, where: string, depth = 0): Model {
  if (depth > MAX_DEPTH)
    throw new InvalidModelError(where, `models lie within models more than ${MAX_DEPTH} deep`);
  const { class_name: className, config } = kerasObject(declared, where);
  const parse = Object.hasOwn(MODELS, className) ? MODELS[className] : undefined;
  const known = Object.keys(MODELS);
  if (!parse) throw new UnknownComponentError("model class", className, nearest(className, known), known);
  const reader = new ConfigReader(`${where}.config`, config);
  reader.ignore("build_input_shape");
  checkPrecision(reader);
  const model = parse(reader, where, depth);
  reader.done();
  if (model.steps.length === 0)
    throw new InvalidModelError(`${where}.config.layers`, "there is no layer after the input");
  return model;
}

function parseSequential(config: ConfigReader, where: string, depth: number): Model {
  const declared = readLayers(config, where);
  const first = declared[0]!;
  const isInput = first.class_name === "InputLayer";
  const names = new Set<string>();
  const layers = (isInput ? declared.slice(1) : declared).map((object) =>
    parseLayer(object, uniqueName(nameOf(object), object.class_name, names), depth),
  );
  return {
    name: modelName(config),
    inputs: statesShape(first) ? [readInput(first)] : undefined,
    frozen: !config.boolean("trainable", true),
    layers,
    steps: layers.map((layer, i) => ({
      layer,
      inputs: [{ from: i, output: 0 }],
      tensors: new Map(),
      options: new Map(),
    })),
    outputs: [{ from: layers.length, output: 0, name: layers.at(-1)?.name ?? "" }],
  };
}

function parseFunctional(config: ConfigReader, where: string, depth: number): Model {
  const declared = readLayers(config, where);
  const name = modelName(config);
  const ends = (field: "input_layers" | "output_layers") =>
    readEnds(config.raw(field), `${config.where}.${field}`);
  const [inputEnds, outputEnds] = [ends("input_layers"), ends("output_layers")];

  const names = new Set<string>();
  const wired = declared.map((object): WiredLayer => {
    const given = uniqueName(nameOf(object), object.class_name, names);
    const isInput = object.class_name === "InputLayer";
    const input = inputEnds.findIndex(({ layer }) => layer === given);
    if (isInput && input < 0)
      throw new InvalidModelError(`layer '${given}'`, "this InputLayer is not among the input_layers");
    return {
      name: given,
      applications: readInboundNodes(object.inbound_nodes, `layer '${given}'.inbound_nodes`),
      ...(isInput && { input }),
      ...nestedKind(object.class_name),
    };
  });
  const inputs = inputEnds.map(({ layer }, i) => {
    const place = wired.findIndex((candidate) => candidate.input === i);
    if (place < 0)
      throw new InvalidModelError(
        `${config.where}.input_layers`,
        `received '${layer}', expected each InputLayer of the model once`,
      );
    return { ...readInput(declared[place]!), name: layer };
  });

  const layers = new Map(
    declared.flatMap((object, i) =>
      wired[i]!.input === undefined ? [[i, parseLayer(object, wired[i]!.name, depth)] as const] : [],
    ),
  );
  declared.forEach(({ class_name: className }, i) => {
    for (const node of wired[i]!.applications) checkCall(className, node, wired[i]!.name);
  });
  const dialect = declared.map((object) => dialectOf(object.inbound_nodes)).find(Boolean) ?? "Keras 3";
  const { order, outputs } = orderApplications(wired, outputEnds, dialect);
  const outputNames = new Set<string>();
  return {
    name,
    inputs,
    frozen: !config.boolean("trainable", true),
    layers: [...layers.values()],
    steps: order.map((step) => ({ ...step, layer: layers.get(step.layer)! })),
    outputs: outputs.map((output, i) => ({
      ...output,
      name: uniqueName(undefined, outputEnds[i]!.layer, outputNames),
    })),
  };
}

/** Refuses tensors and arguments that the layer would leave unread. */
function checkCall(className: string, { inputs, tensors, options }: InboundNode, layer: string): void {
  const where = `layer '${layer}'.inbound_nodes`;
  if (inputs.length > 1 && !TAKES_SEVERAL.has(className) && !Object.hasOwn(MODELS, className))
    throw new InvalidModelError(where, `${className} takes one tensor, received ${inputs.length}`);
  // A model hands masks of its inputs on to its layers.
  const known = Object.hasOwn(MODELS, className) ? ["mask"] : (CALL_ARGUMENTS[className] ?? []);
  // Keras 3 writes `training: false` at times; a call of the whole model overrides it.
  const without = (name: string, value: unknown) => name === "training" && value === false;
  for (const [name, value] of [...tensors, ...options])
    if (!known.includes(name) && !without(name, value))
      throw new InvalidModelError(
        `${where}, argument '${name}'`,
        `received ${shown(value)}, expected null: it is not supported`,
      );
}

function nestedKind(className: string): { nested?: "Sequential" | "Functional" } {
  if (!Object.hasOwn(MODELS, className)) return {};
  return { nested: className === "Sequential" ? "Sequential" : "Functional" };
}

function modelName(config: ConfigReader): string {
  const name = config.raw("name");
  return typeof name === "string" ? name : "model";
}

function parseLayer(object: DeclaredObject, name: string, depth: number): DeclaredLayer {
  const { class_name: className, config } = object;
  if (Object.hasOwn(MODELS, className)) {
    const model = parseModel(object, `layer '${name}'`, depth + 1);
    return { name, className, frozen: model.frozen, apply: (c, inputs) => applyModel(model, c, inputs) };
  }
  const definition = Object.hasOwn(LAYERS, className) ? LAYERS[className] : undefined;
  if (!definition) {
    const known = [...Object.keys(LAYERS), ...Object.keys(MODELS)];
    throw new UnknownLayerError(className, nearest(className, known), known);
  }
  const reader = new ConfigReader(`layer '${name}'`, config);
  reader.ignore(
    "name",
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "sparse",
    "ragged",
    "module",
    "registered_name",
    "build_config",
  );
  const frozen = !reader.boolean("trainable", true);
  if (!READS_DTYPE.has(className)) checkPrecision(reader);
  const penalty = readRegularizer(reader, "activity_regularizer");
  const applyLayer = definition(reader, (declared, where) => {
    if (depth >= MAX_DEPTH)
      throw new InvalidModelError(where, `layers lie within layers more than ${MAX_DEPTH} deep`);
    const inner = readLayer(declared, where);
    return parseLayer(inner, uniqueName(nameOf(inner), inner.class_name, new Set()), depth + 1);
  });
  reader.done();
  const apply = penalty ? penalised(applyLayer, penalty) : applyLayer;
  return { name, className, frozen, apply };
}

/** Moiety trains in float32; a policy for another precision would be ignored otherwise. */
function checkPrecision(reader: ConfigReader): void {
  const dtype = reader.raw("dtype");
  const name = typeof dtype === "object" ? (dtype as { config?: { name?: unknown } }).config?.name : dtype;
  if (name !== undefined && name !== "float32") reader.refuse("dtype", name, "float32");
}
