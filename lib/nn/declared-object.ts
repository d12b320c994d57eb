/**
 * A layer as Keras JSON writes it, before its class is known: its name, the input it states, its wiring. Input shapes
 * are read in every dialect: `batch_shape`, `batch_input_shape`, `batchInputShape`.
 */

import { InvalidModelError } from "../errors.ts";
import type { KerasObject } from "../protocol/jobs.ts";
import { type ConfigReader, kerasObject } from "./config-reader.ts";
import type { ModelInput } from "./model.ts";
import { shown } from "./shown.ts";

export type DeclaredObject = KerasObject & { name: unknown; inbound_nodes: unknown };

/** The layers of a model's config. @throws {InvalidModelError} when there are none */
export function readLayers(config: ConfigReader, where: string): DeclaredObject[] {
  const layers = config.raw("layers");
  if (!Array.isArray(layers) || layers.length === 0)
    throw new InvalidModelError(`${where}.config.layers`, "expected a non-empty list of layers");
  return layers.map((layer: unknown, i) => readLayer(layer, `${where}.config.layers[${i}]`));
}

/** One layer as it is written. @throws {InvalidModelError} */
export function readLayer(layer: unknown, where: string): DeclaredObject {
  const object = kerasObject(layer, where);
  const { name, inbound_nodes, inboundNodes } = layer as Record<string, unknown>;
  return { ...object, name, inbound_nodes: inbound_nodes ?? inboundNodes };
}

/** Keras writes a layer's name beside its config too; wirings speak of that one. */
export function nameOf({ name, config }: DeclaredObject): unknown {
  return name ?? (config as { name?: unknown } | null)?.name;
}

function shapeOf({ config }: KerasObject): unknown {
  const given = (config ?? {}) as Record<string, unknown>;
  return given.batch_shape ?? given.batch_input_shape ?? given.batchInputShape ?? given.batchShape;
}

export function statesShape(object: KerasObject): boolean {
  return object.class_name === "InputLayer" || shapeOf(object) !== undefined;
}

/** The input that a first layer states. */
export function readInput(first: KerasObject): ModelInput {
  const config = (first.config ?? {}) as Record<string, unknown>;
  const shape = shapeOf(first);
  if (!Array.isArray(shape) || shape.length < 2)
    throw new InvalidModelError(
      `layer '${String(config.name ?? first.class_name)}'`,
      `the first layer must state its input as batch_shape [null, ...sizes]; received ${shown(shape)}`,
    );
  const sizes = shape.slice(1);
  if (!sizes.every((size): size is number => Number.isSafeInteger(size) && size > 0))
    throw new InvalidModelError(
      "input shape",
      `every size but the batch must be known; received ${shown(shape)}`,
    );
  const isInput = first.class_name === "InputLayer";
  const name = isInput && typeof config.name === "string" ? config.name : "input";
  return { name, shape: sizes, datatype: datatypeOf(config.dtype, isInput, name) };
}

/** Only an InputLayer's dtype is that of the input; another layer's is the precision it works in. */
function datatypeOf(dtype: unknown, isInput: boolean, name: string): ModelInput["datatype"] {
  if (!isInput) return "FP32";
  const given = dtype ?? "float32";
  if (typeof given === "string" && Object.hasOwn(INPUT_DATATYPES, given)) return INPUT_DATATYPES[given]!;
  throw new InvalidModelError(
    `input '${name}'.dtype`,
    `received ${shown(dtype)}, expected one of ${Object.keys(INPUT_DATATYPES).join(", ")}`,
  );
}

const INPUT_DATATYPES: Readonly<Record<string, ModelInput["datatype"]>> = {
  float32: "FP32",
  int32: "INT32",
  int64: "INT32",
  uint8: "INT32",
};

/** The given name, or one made from the class. @throws {InvalidModelError} for a name given twice */
export function uniqueName(given: unknown, className: string, names: Set<string>): string {
  const stem =
    typeof given === "string" && given !== ""
      ? given
      : className
          .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
          .replace(/([a-z])([A-Z])/g, "$1_$2")
          .toLowerCase();
  if (given !== undefined && names.has(stem))
    throw new InvalidModelError(`layer '${stem}'`, "two layers have this name");
  let name = stem;
  for (let i = 1; names.has(name); i++) name = `${stem}_${i}`;
  names.add(name);
  return name;
}
