/**
 * Which weights of a file a network starts with. Taken layer by layer: a layer of the network whose name the file has
 * takes all of its weights from there, turned from Keras's order of axes into the one they are kept in.
 *
 * Refused by name: layers that were asked for and are not there, and layers of the same name whose weights are others
 * or of other shapes, unless they are to be skipped.
 */

import { InvalidInputError, InvalidModelError } from "../errors.ts";
import type { StoredWeight } from "../formats/keras-weights.ts";
import type { WeightSpec } from "../nn/layer.ts";
import { nearest } from "../nn/nearest.ts";
import { inMemoryOrder, kerasWeightShape } from "../nn/weight-order.ts";
import type { WeightChoice } from "../protocol/weights.ts";
import type { WeightFile } from "./weight-file.ts";

export type TakenWeights = {
  /** By the weight's name, as it lies in memory. */
  values: ReadonlyMap<string, Float32Array>;
  /** Layers with weights that come from the file, and those that begin afresh. */
  taken: string[];
  fresh: string[];
};

/** @throws {InvalidInputError} {InvalidModelError} naming the layer */
export function takeWeights(
  specs: readonly WeightSpec[],
  file: WeightFile,
  choice: WeightChoice,
): TakenWeights {
  const layers = Map.groupBy(specs, ({ name }) => layerOf(name));
  const names = [...layers.keys()];
  for (const field of ["layers", "skip"] as const)
    for (const name of choice[field] ?? [])
      if (!names.some((layer) => isIn(layer, name))) refuseUnknown(field, name, names);
  const stored = Map.groupBy(file.weights, ({ layer }) => ownLayer(layer, layers));
  const wanted = (layer: string) =>
    (!choice.layers || choice.layers.some((name) => isIn(layer, name))) &&
    !choice.skip?.some((name) => isIn(layer, name));

  const values = new Map<string, Float32Array>();
  const taken: string[] = [];
  const fresh: string[] = [];
  const allowMissing = choice.allowMissing ?? choice.layers === undefined;
  for (const [layer, own] of layers) {
    const found = wanted(layer) ? stored.get(layer) : undefined;
    if (found) {
      for (const [spec, weight] of pairs(layer, own, found))
        values.set(spec.name, valuesOf(spec, weight, file));
      taken.push(layer);
      continue;
    }
    if (wanted(layer) && !allowMissing)
      throw new InvalidModelError(
        `initial weights of layer '${layer}'`,
        `the file has none; it has weights of ${listed([...stored.keys()])}`,
      );
    fresh.push(layer);
  }
  if (taken.length === 0)
    throw new InvalidModelError(
      "initial weights",
      `no layer of the network takes any: it has ${listed(names)}, the file ${listed([...stored.keys()])}`,
    );
  return { values, taken, fresh };
}

const layerOf = (name: string) => name.slice(0, Math.max(name.lastIndexOf("/"), 0));

/** Whether a layer is the one called `name` or lies in it. */
const isIn = (layer: string, name: string) => layer === name || layer.startsWith(`${name}/`);

const listed = (names: readonly string[]) =>
  names.length === 0
    ? "none"
    : `${names
        .slice(0, 20)
        .map((name) => `'${name}'`)
        .join(", ")}${names.length > 20 ? ", …" : ""}`;

/** Keras keeps the weights of a recurrent layer in its cell, a layer of its own. */
function ownLayer(stored: string, layers: ReadonlyMap<string, unknown>): string {
  const around = layerOf(stored);
  return !layers.has(stored) && layers.has(around) ? around : stored;
}

/** The weights of a layer with those of the file: by name, or by place where the file does not name them. */
function pairs(
  layer: string,
  own: readonly WeightSpec[],
  found: readonly StoredWeight[],
): (readonly [WeightSpec, StoredWeight])[] {
  const matched = own.map((spec, i) => {
    const variable = spec.name.slice(layer.length + 1);
    const weight = found.find((candidate, k) =>
      candidate.variable === undefined ? k === i : candidate.variable === variable,
    );
    return [spec, weight] as const;
  });
  const complete = matched.every((pair): pair is [WeightSpec, StoredWeight] => pair[1] !== undefined);
  if (!complete || found.length !== own.length)
    return refuse(
      layer,
      `the file has ${found.length} weights (${found.map(({ variable, shape }) => `${variable ?? ""}[${shape.join(",")}]`).join(", ")})`,
      `${own.length} (${own.map((spec) => `${spec.name.slice(layer.length + 1)}[${kerasWeightShape(spec).join(",")}]`).join(", ")})`,
    );
  return matched as [WeightSpec, StoredWeight][];
}

function valuesOf(spec: WeightSpec, { shape, data }: StoredWeight, { axes }: WeightFile): Float32Array {
  const [given, inMemory, inKeras] = [shape.join(), spec.shape.join(), kerasWeightShape(spec).join()];
  const isInMemory = axes === "memory" && given === inMemory;
  if (!isInMemory && given !== inKeras)
    refuse(layerOf(spec.name), `'${spec.name}' is [${given}] in the file`, `[${inKeras}]`);
  if (!data.every(Number.isFinite))
    refuse(layerOf(spec.name), `'${spec.name}' has elements that are no numbers`, "numbers");
  return isInMemory ? data : inMemoryOrder(data, spec);
}

function refuse(layer: string, received: string, expected: string): never {
  throw new InvalidModelError(
    `initial weights of layer '${layer}'`,
    `${received}, the network takes ${expected}; name the layer in initialWeights.skip to begin it afresh`,
  );
}

function refuseUnknown(field: string, name: string, known: readonly string[]): never {
  const hint = nearest(name, known);
  throw new InvalidInputError({
    field: `initialWeights.${field}`,
    received: `'${name}'`,
    expected: `layers of the network that have weights (${listed(known)})${hint ? `; did you mean '${hint}'?` : ""}`,
  });
}
