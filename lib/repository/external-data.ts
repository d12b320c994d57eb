/**
 * Puts a model's external data into the model itself: tensors whose bytes lie in files beside it (ONNX, External Data)
 * become tensors with bytes of their own, so that a model is one file from then on, under one digest. Only files in
 * the model's own folder are read: a location that leads out of it is refused, through links too. So is a model that
 * would exceed protobuf's 2 GiB, which no runtime reads in one piece.
 */

import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative } from "node:path";
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  TensorProto_DataLocation,
} from "onnx-buf";
import { errorMessage, InvalidModelError } from "../errors.ts";

/** Protobuf's limit on a message. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/**
 * Inlines what is external, in place.
 * @param folder of the model file
 * @returns whether there was any
 * @throws {InvalidModelError}
 */
export async function inlineExternalData(model: ModelProto, folder: string): Promise<boolean> {
  const external = tensorsOf(model).filter(
    ({ dataLocation }) => dataLocation === TensorProto_DataLocation.EXTERNAL,
  );
  const files = new Map<string, FileHandle>();
  let total = 0;
  try {
    for (const tensor of external) {
      const bytes = await read(tensor, folder, files, MAX_MODEL_BYTES - total);
      total += bytes.byteLength;
      tensor.rawData = bytes;
      tensor.externalData = [];
      tensor.dataLocation = TensorProto_DataLocation.DEFAULT;
    }
  } finally {
    for (const file of files.values()) await file.close();
  }
  return external.length > 0;
}

async function read(
  tensor: TensorProto,
  folder: string,
  files: Map<string, FileHandle>,
  roomBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const where = `tensor "${tensor.name}"`;
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const location = entries.get("location") ?? "";
  const file = files.get(location) ?? (await openInside(folder, location, where));
  files.set(location, file);
  const { size } = await file.stat();
  const offset = count(entries.get("offset") ?? "0", "offset", where);
  const length = count(entries.get("length") ?? String(Math.max(0, size - offset)), "length", where);
  if (offset + length > size)
    throw new InvalidModelError(
      where,
      `needs bytes ${offset} to ${offset + length} of "${location}", which has ${size}`,
    );
  if (length > roomBytes)
    throw new InvalidModelError("file", "with its external data it exceeds 2 GiB, which cannot be served");
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) throw new InvalidModelError(where, `"${location}" became shorter while it was read`);
    done += bytesRead;
  }
  return bytes;
}

async function openInside(folder: string, location: string, where: string): Promise<FileHandle> {
  try {
    const [root, file] = await Promise.all([realpath(folder), realpath(join(folder, location))]);
    const path = relative(root, file);
    if (location === "" || isAbsolute(location) || path.startsWith("..") || isAbsolute(path))
      throw new Error("it is not in the model's own folder");
    if (!(await stat(file)).isFile()) throw new Error("it is no file");
    return await open(file);
  } catch (error) {
    throw new InvalidModelError(where, `its data in "${location}" cannot be read: ${errorMessage(error)}`);
  }
}

function count(text: string, key: string, where: string): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new InvalidModelError(where, `external ${key} "${text}" is no byte count`);
  return value;
}

/** Every tensor of a model, wherever it stands. */
function tensorsOf({ graph, functions, trainingInfo }: ModelProto): TensorProto[] {
  const tensors: TensorProto[] = [];
  const nodes = (list: readonly NodeProto[]): void => {
    for (const { attribute } of list)
      for (const { t, tensors: many, g, graphs, sparseTensor, sparseTensors } of attribute) {
        if (t) tensors.push(t);
        tensors.push(...many);
        for (const sparse of [...(sparseTensor ? [sparseTensor] : []), ...sparseTensors])
          tensors.push(...parts(sparse));
        for (const inner of [...(g ? [g] : []), ...graphs]) graphOf(inner);
      }
  };
  const graphOf = (inner: GraphProto): void => {
    for (const tensor of inner.initializer) tensors.push(tensor);
    for (const sparse of inner.sparseInitializer) tensors.push(...parts(sparse));
    nodes(inner.node);
  };
  if (graph) graphOf(graph);
  for (const { node } of functions) nodes(node);
  for (const { initialization, algorithm } of trainingInfo)
    for (const inner of [initialization, algorithm]) if (inner) graphOf(inner);
  return tensors;
}

function parts({ values, indices }: { values?: TensorProto; indices?: TensorProto }): TensorProto[] {
  return [values, indices].filter((tensor) => tensor !== undefined);
}
