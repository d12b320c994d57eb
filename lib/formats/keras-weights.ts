/**
 * The weights in a file that Keras wrote (keras.io/guides/serialization_and_saving): `.keras` (a zip with
 * model.weights.h5 inside), `.weights.h5`, and the older HDF5 files of models and weights. Keras 3 files each variable
 * under its layer by number alone, with the layer's name beside it; the older ones by "layer/variable:0".
 * Refuses files that cannot be read, and variables that are no floating point numbers. Optimiser state is not read.
 */

import { unzipSync } from "fflate";
import { Dataset, File, Group } from "jsfive";
import { errorMessage, InvalidModelError } from "../errors.ts";
import { elementCount } from "../tensor/tensor.ts";
import { type Declared, innerLayer, listedLayer, nameFor } from "./keras-names.ts";

export type StoredWeight = {
  /** Names of the layer and of the models or layers it lies in, separated by "/". */
  layer: string;
  /** Undefined: the file does not name it; weights of a layer are in the order in which the layer has them. */
  variable: string | undefined;
  shape: number[];
  data: Float32Array;
};

const WEIGHTS_FILE = "model.weights.h5";
const CONFIG_FILE = "config.json";
const MAX_WEIGHTS_BYTES = 2 ** 31;
const MAX_CONFIG_BYTES = 2 ** 26;
/** Layers within layers; deeper is no model of Keras. */
const MAX_DEPTH = 64;
const FLOATS = /^[<>|]?f[248]$/;
const INTEGERS = /^[<>|]?[iu][1248]$/;

/** A model that says what its layers are called, for files that do not. */
type Naming = Declared | undefined;

/** Where in the model a group is: below which layer, and whether it is the list of that one's layers. */
type Place = { path: readonly string[]; declared: Naming; isList: boolean };

/** @throws {InvalidModelError} */
export function readKerasArchive(bytes: Uint8Array): StoredWeight[] {
  let files: Record<string, Uint8Array>;
  try {
    files = unzipSync(bytes, {
      filter({ name, originalSize }) {
        const most = name === WEIGHTS_FILE ? MAX_WEIGHTS_BYTES : MAX_CONFIG_BYTES;
        if (name !== WEIGHTS_FILE && name !== CONFIG_FILE) return false;
        if (originalSize <= most) return true;
        throw new Error(`${name} has ${originalSize} bytes, expected at most ${most}`);
      },
    });
  } catch (error) {
    return refuse(`it is no zip that can be read (${errorMessage(error)})`);
  }
  const weights = files[WEIGHTS_FILE];
  return weights
    ? readKerasWeights(weights, parseConfig(files[CONFIG_FILE]))
    : refuse(`it is a zip without ${WEIGHTS_FILE}`);
}

function parseConfig(bytes: Uint8Array | undefined): Naming {
  if (!bytes) return undefined;
  try {
    return (JSON.parse(new TextDecoder().decode(bytes)) as Naming) ?? undefined;
  } catch (error) {
    return refuse(`its ${CONFIG_FILE} is not JSON (${errorMessage(error)})`);
  }
}

/**
 * Reads HDF5, in either layout.
 * @param model names the layers where the file does not
 * @throws {InvalidModelError}
 */
export function readKerasWeights(bytes: Uint8Array, model?: Naming): StoredWeight[] {
  try {
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    const file = new File(buffer, "weights");
    const models = file.keys.includes("model_weights") ? groupOf(file.get("model_weights")) : file;
    return "layer_names" in models.attrs
      ? readNamed(models)
      : readNumbered(file, { path: [], declared: model, isList: false }, 0);
  } catch (error) {
    if (error instanceof InvalidModelError) throw error;
    return refuse(`it is no HDF5 that can be read (${errorMessage(error)})`);
  }
}

/** Keras 3: `layers/<class>/vars/0`, 1, 2 …; but for early versions, the group `vars` has the layer's name. */
function readNumbered(group: Group, at: Place, depth: number): StoredWeight[] {
  if (depth > MAX_DEPTH) refuse(`layers lie within layers more than ${MAX_DEPTH} deep`);
  const { path, declared, isList } = at;
  const found: StoredWeight[] = [];
  for (const key of group.keys) {
    if (path.length === 0 && key.startsWith("optimizer")) continue;
    const child = group.get(key);
    if (!(child instanceof Group)) continue;
    if (key === "vars") {
      const variables = child.keys.toSorted((a, b) => Number(a) - Number(b));
      for (const name of variables) found.push(...read(path.join("/"), undefined, child.get(name)));
      continue;
    }
    // Lists of layers have no name of their own.
    if (!child.keys.includes("vars")) {
      found.push(...readNumbered(child, { path, declared, isList: true }, depth + 1));
      continue;
    }
    const layer = isList ? listedLayer(declared, key) : innerLayer(declared, key);
    const { name } = groupOf(child.get("vars")).attrs;
    const own = typeof name === "string" && name !== "" ? name : nameFor(layer, key);
    found.push(...readNumbered(child, { path: [...path, own], declared: layer, isList: false }, depth + 1));
  }
  return found;
}

/** Before Keras 3, and its `.h5`: attributes name the layers, and each layer's weights. */
function readNamed(models: Group): StoredWeight[] {
  return texts(models.attrs.layer_names).flatMap((layer) => {
    const group = groupOf(models.get(layer));
    return texts(group.attrs.weight_names).flatMap((path) => {
      const segments = path.replace(/:0$/, "").split("/");
      const variable = segments.pop();
      // Weights are named with the models around them, or without.
      const from = segments.indexOf(layer);
      const owner = from >= 0 ? segments.slice(from) : [layer, ...segments];
      return read(owner.join("/"), variable, group.get(path));
    });
  });
}

/** A weight; nothing for whole numbers, which count and seed. */
function read(layer: string, variable: string | undefined, found: Group | Dataset | null): StoredWeight[] {
  const where = `'${layer}${variable ? `/${variable}` : ""}'`;
  if (!(found instanceof Dataset)) return refuse(`${where} is not there`);
  const { shape, dtype, value } = found;
  if (typeof dtype === "string" && INTEGERS.test(dtype)) return [];
  if (typeof dtype !== "string" || !FLOATS.test(dtype))
    refuse(`${where} has elements of type ${JSON.stringify(dtype)}, expected floating point numbers`);
  const data = Float32Array.from(value as ArrayLike<number>);
  if (data.length !== elementCount(shape))
    refuse(`${where} has ${data.length} elements, expected [${shape.join(",")}]`);
  return [{ layer, variable, shape: [...shape], data }];
}

function groupOf(found: Group | Dataset | null): Group {
  return found instanceof Group ? found : refuse("a group of weights that it names is not there");
}

function texts(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  return list.every((text) => typeof text === "string") ? list : refuse("its names are no text");
}

function refuse(reason: string): never {
  throw new InvalidModelError("Keras file", reason);
}
