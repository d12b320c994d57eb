/**
 * The weights in a file of any kind that a network can start from, told apart by its first bytes: a zip or HDF5 that
 * Keras wrote, safetensors (a Moiety checkpoint, or any file of tensors named "<layer>/<variable>"), or the
 * initialisers of an ONNX model under such names.
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { readKerasArchive, readKerasWeights, type StoredWeight } from "../formats/keras-weights.ts";
import { type NamedArrays, readSafetensors } from "../formats/safetensors.ts";
import { readModel } from "../onnx/proto.ts";
import { castArray } from "../tensor/cast.ts";
import type { NumericArray } from "../tensor/datatype.ts";

export type WeightFile = {
  format: "Keras" | "HDF5" | "safetensors" | "checkpoint" | "ONNX";
  /** The order of axes that a weight is taken to have where both its own and Keras's fit. */
  axes: "Keras" | "memory";
  weights: StoredWeight[];
};

const ZIP = [0x50, 0x4b, 0x03, 0x04];
const HDF5 = [0x89, 0x48, 0x44, 0x46];
const CHECKPOINT_WEIGHTS = "weights/";
const OPENING_BRACE = 0x7b;

/**
 * @param architecture names the layers where a file of Keras does not
 * @throws {InvalidModelError}
 */
export function readWeightFile(bytes: Uint8Array, architecture?: object): WeightFile {
  if (beginsWith(bytes, ZIP)) return { format: "Keras", axes: "Keras", weights: readKerasArchive(bytes) };
  if (beginsWith(bytes, HDF5))
    return { format: "HDF5", axes: "Keras", weights: readKerasWeights(bytes, architecture) };
  // After the length of its header, a safetensors file begins with the header's opening brace.
  return bytes[8] === OPENING_BRACE ? readTensors(bytes) : readInitialisers(bytes);
}

function beginsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

function readTensors(bytes: Uint8Array): WeightFile {
  const { tensors, metadata } = readSafetensors(bytes);
  if (metadata.format?.startsWith("moiety-checkpoint-") !== true)
    return { format: "safetensors", axes: "Keras", weights: named(tensors) };
  const own = [...tensors].flatMap(([name, array]) =>
    name.startsWith(CHECKPOINT_WEIGHTS) ? [[name.slice(CHECKPOINT_WEIGHTS.length), array] as const] : [],
  );
  return { format: "checkpoint", axes: "memory", weights: named(new Map(own)) };
}

function readInitialisers(bytes: Uint8Array): WeightFile {
  try {
    const { initializers } = readModel(bytes).graph;
    const arrays: NamedArrays = new Map();
    for (const [name, { datatype, shape, data }] of initializers)
      if (name.includes("/") && (datatype === "FP32" || datatype === "FP64"))
        arrays.set(name, {
          shape,
          data: Float32Array.from(castArray(data as NumericArray, "FP32") as Float32Array),
        });
    return { format: "ONNX", axes: "memory", weights: named(arrays) };
  } catch (error) {
    throw new InvalidModelError(
      "initial weights",
      `the file is none of Keras, HDF5, safetensors and ONNX (${errorMessage(error)})`,
    );
  }
}

function named(arrays: NamedArrays): StoredWeight[] {
  return [...arrays].map(([name, { shape, data }]) => {
    const cut = name.lastIndexOf("/");
    return { layer: name.slice(0, Math.max(cut, 0)), variable: name.slice(cut + 1), shape, data };
  });
}
