/**
 * `PredictResponse` as `ModelInferResponse` and `ModelStreamInferResponse`. All outputs leave raw, as Triton's do: any
 * datatype, NaN and infinities included, has that form. Data are copied once, into the message.
 */

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { PredictResponse } from "../../protocol/inference.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { stepParameters } from "../infer-response.ts";
import { encodeRaw } from "../raw-tensor.ts";
import { lengthDelimited, varint } from "./message-reader.ts";

const MODEL_NAME = lengthDelimited(1);
const MODEL_VERSION = lengthDelimited(2);
const ID = lengthDelimited(3);
const PARAMETERS = lengthDelimited(4);
const OUTPUTS = lengthDelimited(5);
const RAW_OUTPUT_CONTENTS = lengthDelimited(6);

const NAME = lengthDelimited(1);
const DATATYPE = lengthDelimited(2);
const SHAPE = lengthDelimited(3);

const ERROR_MESSAGE = lengthDelimited(1);
const INFER_RESPONSE = lengthDelimited(2);

/** By which Triton's clients know the last of the answers to one request; here there is one. */
const FINAL_RESPONSE = "triton_final_response";

export function printInferResponse(response: PredictResponse, id: string | undefined): Buffer {
  const parts = partsOf(response, id, false);
  return Buffer.concat(parts);
}

/** One answer on a stream. */
export function printStreamResponse(response: PredictResponse, id: string | undefined): Buffer {
  const parts = partsOf(response, id, true);
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = new BinaryWriter().uint32(INFER_RESPONSE).uint32(bytes).finish();
  return Buffer.concat([head, ...parts], head.byteLength + bytes);
}

/** The failure of one request of a stream. */
export function printStreamError(error: string, id: string | undefined): Buffer {
  const writer = new BinaryWriter().uint32(ERROR_MESSAGE).string(error);
  if (id !== undefined) writer.uint32(INFER_RESPONSE).fork().uint32(ID).string(id).join();
  return asBuffer(writer.finish());
}

/** The message in parts that follow one another; the data are views of the outputs. */
function partsOf(
  { model, version, outputs, steps }: PredictResponse,
  id: string | undefined,
  stream: boolean,
) {
  const writer = new BinaryWriter().uint32(MODEL_NAME).string(model).uint32(MODEL_VERSION).string(version);
  if (id !== undefined) writer.uint32(ID).string(id);
  if (stream) writeFinal(writer);
  if (steps) for (const parameter of Object.entries(stepParameters(steps))) writeText(writer, parameter);
  for (const tensor of outputs) writeOutput(writer, tensor);
  const parts: Uint8Array[] = [];
  for (const tensor of outputs) {
    const data = encodeRaw(tensor);
    parts.push(writer.uint32(RAW_OUTPUT_CONTENTS).uint32(data.byteLength).finish(), data);
  }
  return parts.length === 0 ? [writer.finish()] : parts;
}

function writeOutput(writer: BinaryWriter, { name, datatype, shape }: Tensor): void {
  writer.uint32(OUTPUTS).fork().uint32(NAME).string(name).uint32(DATATYPE).string(datatype);
  writer.uint32(SHAPE).fork();
  for (const size of shape) writer.int64(size);
  writer.join().join();
}

function writeText(writer: BinaryWriter, [name, value]: [string, string]): void {
  writer.uint32(PARAMETERS).fork().uint32(lengthDelimited(1)).string(name);
  writer.uint32(lengthDelimited(2)).fork().uint32(lengthDelimited(3)).string(value).join().join();
}

function writeFinal(writer: BinaryWriter): void {
  writer.uint32(PARAMETERS).fork().uint32(lengthDelimited(1)).string(FINAL_RESPONSE);
  writer.uint32(lengthDelimited(2)).fork().uint32(varint(1)).bool(true).join().join();
}

/** The same bytes as a Buffer. */
export function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
