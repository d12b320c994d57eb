/** The small messages of the Open Inference Protocol over gRPC: which model is meant, metadata, readiness. */

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { TensorSpec } from "../../tensor/tensor.ts";
import type { OipModelMetadata, ServerMetadata } from "../metadata.ts";
import { readName } from "../request-fields.ts";
import { asBuffer } from "./infer-response.ts";
import { END, lengthDelimited, readMessage, varint } from "./message-reader.ts";

export type ModelReference = { model: string; version?: string };

const NAME = lengthDelimited(1);
const VERSION = lengthDelimited(2);

/** `ModelReadyRequest`, `ModelMetadataRequest` and `ModelConfigRequest`. @throws {MalformedBodyError} {InvalidInputError} */
export function readModelReference(bytes: Uint8Array, what: string): ModelReference {
  const { name, version } = readNames(bytes, what);
  const model = readName(name, "name");
  return version === "" ? { model } : { model, version };
}

/** `ModelStatisticsRequest`, which may mean all models. @throws {MalformedBodyError} {InvalidInputError} */
export function readStatisticsReference(bytes: Uint8Array): Partial<ModelReference> {
  const what = "ModelStatisticsRequest";
  const { name, version } = readNames(bytes, what);
  return name === "" && version === "" ? {} : readModelReference(bytes, what);
}

function readNames(bytes: Uint8Array, what: string): { name: string; version: string } {
  const read = { name: "", version: "" };
  readMessage(bytes, what, (reader, end) => {
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      if (key === NAME) read.name = reader.text();
      else if (key === VERSION) read.version = reader.text();
      else reader.pass(key);
  });
  return read;
}

/** `ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse`. */
export function printFlag(value: boolean): Buffer {
  return asBuffer(new BinaryWriter().uint32(varint(1)).bool(value).finish());
}

/** `ServerMetadataResponse`. */
export function printServerMetadata({ name, version, extensions }: ServerMetadata): Buffer {
  const writer = new BinaryWriter().uint32(NAME).string(name).uint32(VERSION).string(version);
  for (const extension of extensions) writer.uint32(lengthDelimited(3)).string(extension);
  return asBuffer(writer.finish());
}

/** `ModelMetadataResponse`. */
export function printModelMetadata(metadata: OipModelMetadata): Buffer {
  const { name, versions, platform, inputs, outputs } = metadata;
  const writer = new BinaryWriter().uint32(NAME).string(name);
  for (const version of versions) writer.uint32(VERSION).string(version);
  writer.uint32(lengthDelimited(3)).string(platform);
  for (const input of inputs) writeSpec(writer, 4, input);
  for (const output of outputs) writeSpec(writer, 5, output);
  return asBuffer(writer.finish());
}

function writeSpec(writer: BinaryWriter, field: number, { name, datatype, shape }: TensorSpec): void {
  writer.uint32(lengthDelimited(field)).fork().uint32(NAME).string(name);
  writer.uint32(lengthDelimited(2)).string(datatype).uint32(lengthDelimited(3)).fork();
  for (const size of shape) writer.int64(size);
  writer.join().join();
}
