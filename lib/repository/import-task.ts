/**
 * The process that takes a model file in: reads it, makes it one file, asks the runtime whether it loads and what it
 * takes and gives, and stores it. A model that would not be served is never stored.
 */

import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema } from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";
import { errorMessage, InvalidModelError } from "../errors.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { signatureOf } from "../runtime/ort-tensor.ts";
import { serveProcessTask } from "../runtime/process-task.ts";
import { sessionOptions } from "../runtime/session-options.ts";
import { digestOf } from "../store/digest.ts";
import { openStore } from "../store/open-store.ts";
import type { ArtifactRef, StoreLocation } from "../store/store.ts";
import { checkDeclared, type Declarations } from "./declared-tensors.ts";
import { inlineExternalData, MAX_MODEL_BYTES } from "./external-data.ts";
import { checkTypes } from "./model-types.ts";

export type ImportTask = {
  store: StoreLocation;
  /** Of the model file. */
  path: string;
  /** What the configuration says of the model's tensors; undefined: nothing. */
  declared: Declarations | undefined;
  /** Of the model file that is published under this number already. */
  publishedDigest: string | undefined;
};

/** `signature` undefined: it is what is published already. */
export type ImportedModel = { onnx: ArtifactRef; signature: ModelSignature | undefined };

serveProcessTask(
  async ({ store: location, path, declared, publishedDigest }: ImportTask): Promise<ImportedModel> => {
    const bytes = await readWhole(path);
    const digest = await digestOf(bytes);
    if (digest === publishedDigest) return { onnx: { digest, size: bytes.byteLength }, signature: undefined };
    const signature = await signatureFrom(bytes);
    if (declared) checkDeclared(declared, signature);
    const store = await openStore(location);
    try {
      return { onnx: await store.artifacts.put(bytes), signature };
    } finally {
      await store.close();
    }
  },
);

/** The model in one piece. @throws {InvalidModelError} */
async function readWhole(path: string): Promise<Uint8Array> {
  const { size } = await stat(path).catch((error: unknown) => {
    throw new InvalidModelError("file", `it cannot be read: ${errorMessage(error)}`);
  });
  if (size > MAX_MODEL_BYTES) throw new InvalidModelError("file", "it exceeds 2 GiB, which cannot be served");
  const bytes = await readFile(path);
  const model = parse(bytes);
  checkTypes(model);
  if (!(await inlineExternalData(model, dirname(path)))) return bytes;
  const whole = toBinary(ModelProtoSchema, model);
  if (whole.byteLength > MAX_MODEL_BYTES)
    throw new InvalidModelError("file", "with its external data it exceeds 2 GiB, which cannot be served");
  return whole;
}

function parse(bytes: Uint8Array): ModelProto {
  try {
    return fromBinary(ModelProtoSchema, bytes);
  } catch (error) {
    throw new InvalidModelError("file", `not an ONNX model (${errorMessage(error)})`);
  }
}

/** Weights are not laid out for running, which would take as much memory again. */
const UNPACKED = { session: { disable_prepacking: "1" } };

/** Loaded as it will be for serving, so that what passes here loads there. @throws {InvalidModelError} */
async function signatureFrom(bytes: Uint8Array): Promise<ModelSignature> {
  let session: InferenceSession;
  try {
    session = await InferenceSession.create(bytes, { ...sessionOptions({}), extra: UNPACKED });
  } catch (error) {
    throw new InvalidModelError("file", errorMessage(error));
  }
  try {
    return signatureOf(session);
  } finally {
    await session.release();
  }
}
