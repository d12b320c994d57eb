/**
 * A model as Keras JSON declares it, Sequential or Functional, and every model inside it, parsed and checked once.
 * Dialects: Keras 3 (`batch_shape`), Keras 2 (`batch_input_shape`, "Model"), TensorFlow.js (`batchInputShape`).
 * Refused by name: unknown layers and options, several inputs or outputs, models nested out of measure.
 */

import { InvalidModelError, UnknownComponentError, UnknownLayerError } from "../errors.ts";
import { orderApplications } from "./application-order.ts";
import { ConfigReader, kerasObject } from "./config-reader.ts";
import {
  type DeclaredObject,
  nameOf,
  readInput,
  readLayers,
  statesShape,
  uniqueName,
} from "./declared-object.ts";
import { dialectOf, readEnds, readInboundNodes } from "./inbound-nodes.ts";
import { LAYERS, TAKES_SEVERAL } from "./layers/table.ts";
import { applyModel, type DeclaredLayer, type Model } from "./model.ts";
import { nearest } from "./nearest.ts";

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
  if (model.output === 0)
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
    input: statesShape(first) ? readInput(first) : undefined,
    frozen: !config.boolean("trainable", true),
    layers,
    steps: layers.map((layer, i) => ({ layer, inputs: [i] })),
    output: layers.length,
  };
}

function parseFunctional(config: ConfigReader, where: string, depth: number): Model {
  const declared = readLayers(config, where);
  const name = modelName(config);
  const ends = (field: "input_layers" | "output_layers") => {
    const found = readEnds(config.raw(field), `${config.where}.${field}`);
    if (found.length === 1) return found[0]!;
    const names = found.map(({ layer }) => `'${layer}'`).join(", ");
    throw new InvalidModelError(
      `${config.where}.${field}`,
      `received ${found.length} (${names}), expected one: data is fed and compared as one tensor`,
    );
  };
  const [input, output] = [ends("input_layers"), ends("output_layers")];

  const names = new Set<string>();
  const wired = declared.map((object) => {
    const given = uniqueName(nameOf(object), object.class_name, names);
    return {
      name: given,
      applications: readInboundNodes(object.inbound_nodes, `layer '${given}'.inbound_nodes`),
      isInput: object.class_name === "InputLayer",
      ...nestedKind(object.class_name),
    };
  });
  const inputs = wired.filter(({ isInput }) => isInput);
  if (inputs.length !== 1 || inputs[0]!.name !== input.layer)
    throw new InvalidModelError(
      `${config.where}.input_layers`,
      `received '${input.layer}', expected the model's one InputLayer; it has ${
        inputs.map((layer) => `'${layer.name}'`).join(", ") || "none"
      }`,
    );

  const layers = new Map(
    declared.flatMap((object, i) =>
      wired[i]!.isInput ? [] : [[i, parseLayer(object, wired[i]!.name, depth)] as const],
    ),
  );
  declared.forEach(({ class_name: className }, i) => {
    const { applications, name: layer } = wired[i]!;
    const several = applications.find((refs) => refs.length > 1);
    if (several && !TAKES_SEVERAL.has(className))
      throw new InvalidModelError(
        `layer '${layer}'.inbound_nodes`,
        `${className} takes one tensor, received ${several.length}`,
      );
  });
  // The input layer comes first: everything else depends on it.
  const dialect = declared.map((object) => dialectOf(object.inbound_nodes)).find(Boolean) ?? "Keras 3";
  const { order, output: last } = orderApplications(wired, output, dialect);
  return {
    name,
    input: { ...readInput(declared[wired.findIndex(({ isInput }) => isInput)]!), name: input.layer },
    frozen: !config.boolean("trainable", true),
    layers: [...layers.values()],
    steps: order.slice(1).map((step) => ({ layer: layers.get(step.layer)!, inputs: step.inputs })),
    output: last,
  };
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
    return { name, className, frozen: model.frozen, apply: (c, [x]) => applyModel(model, c, x!) };
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
  checkPrecision(reader);
  const apply = definition(reader);
  reader.done();
  return { name, className, frozen, apply };
}

/** Moiety trains in float32; a policy for another precision would be ignored otherwise. */
function checkPrecision(reader: ConfigReader): void {
  const dtype = reader.raw("dtype");
  const name = typeof dtype === "object" ? (dtype as { config?: { name?: unknown } }).config?.name : dtype;
  if (name !== undefined && name !== "float32") reader.refuse("dtype", name, "float32");
}
