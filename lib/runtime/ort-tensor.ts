/**
 * The border between Moiety's tensors and ONNX Runtime's: the same bytes under the other's names, never copied.
 * BF16 has no array type in onnxruntime-node and is refused; so are inputs that are not tensors (sequences, maps,
 * optionals). FP16 stays raw 16-bit words on our side. Symbolic dimensions read -1.
 */

import { type InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import type { ModelSignature } from "../protocol/models.ts";
import type { Datatype } from "../tensor/datatype.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";

const ORT_TYPES = {
  BOOL: "bool",
  UINT8: "uint8",
  UINT16: "uint16",
  UINT32: "uint32",
  UINT64: "uint64",
  INT8: "int8",
  INT16: "int16",
  INT32: "int32",
  INT64: "int64",
  FP16: "float16",
  FP32: "float32",
  FP64: "float64",
  BYTES: "string",
} as const satisfies Record<Exclude<Datatype, "BF16">, OrtTensor.Type>;

const DATATYPE_OF: ReadonlyMap<string, Datatype> = new Map(
  Object.entries(ORT_TYPES).map(([datatype, type]) => [type, datatype as Datatype]),
);

/**
 * A view of `tensor` that a session takes; its data must stay untouched until the run ends.
 * @throws {InvalidModelError} for BF16
 */
export function toOrt(tensor: Tensor): OrtTensor {
  if (tensor.datatype === "BF16")
    throw new InvalidModelError(`tensor "${tensor.name}"`, "BF16 has no array type in onnxruntime-node");
  const { datatype, data, shape } = tensor;
  if (datatype !== "FP16")
    return new OrtTensor(ORT_TYPES[datatype], data as Float32Array, shape) as OrtTensor;
  // The binding reads half precision from 16-bit words only, but where Float16Array exists the constructor would
  // turn them into one; so the words go in as what they are, and the type is set after.
  return Object.assign(new OrtTensor("uint16", data as Uint16Array, shape), { type: "float16" }) as OrtTensor;
}

/** A view of a session's output under its name. */
export function fromOrt(name: string, value: OrtTensor): Tensor {
  const datatype = DATATYPE_OF.get(value.type);
  if (datatype === undefined)
    throw new InvalidModelError(`output "${name}"`, `element type ${value.type} is not supported`);
  const data = value.data as unknown as Float32Array;
  return {
    name,
    datatype,
    shape: [...value.dims],
    // Depending on the Node version float16 comes as Float16Array; the bits are the same.
    data: datatype === "FP16" ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data,
  };
}

/**
 * What a loaded model takes and gives.
 * @throws {InvalidModelError} for values that are not tensors, or of an element type without an array
 */
export function signatureOf(session: InferenceSession): ModelSignature {
  return {
    inputs: session.inputMetadata.map((metadata) => specOf("input", metadata)),
    outputs: session.outputMetadata.map((metadata) => specOf("output", metadata)),
  };
}

function specOf(role: string, metadata: InferenceSession.ValueMetadata): TensorSpec {
  const where = `${role} "${metadata.name}"`;
  if (!metadata.isTensor) throw new InvalidModelError(where, "it is not a tensor");
  const datatype = DATATYPE_OF.get(metadata.type);
  if (datatype === undefined)
    throw new InvalidModelError(where, `element type ${metadata.type} is not supported`);
  return {
    name: metadata.name,
    datatype,
    shape: metadata.shape.map((size) => (typeof size === "number" ? size : -1)),
  };
}
