/**
 * The signatures a model has in the eyes of TensorFlow Serving's clients. `serving_default` takes and gives the model's
 * tensors and answers every verb that the model can; `tensorflow/serving/classify` and `tensorflow/serving/regress`
 * take examples. A model classifies when its first output has class names, and regresses when it has one output with
 * one number per row and no class names.
 */

import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import type { Datatype } from "../tensor/datatype.ts";
import { formatShape, type TensorSpec } from "../tensor/tensor.ts";

export type Verb = "predict" | "classify" | "regress";

export const DEFAULT_SIGNATURE = "serving_default";

const METHOD_PREFIX = "tensorflow/serving/";

const DT_NAMES: Readonly<Record<Datatype, string>> = {
  BOOL: "DT_BOOL",
  UINT8: "DT_UINT8",
  UINT16: "DT_UINT16",
  UINT32: "DT_UINT32",
  UINT64: "DT_UINT64",
  INT8: "DT_INT8",
  INT16: "DT_INT16",
  INT32: "DT_INT32",
  INT64: "DT_INT64",
  FP16: "DT_HALF",
  BF16: "DT_BFLOAT16",
  FP32: "DT_FLOAT",
  FP64: "DT_DOUBLE",
  BYTES: "DT_STRING",
};

type TensorInfo = {
  dtype: string;
  tensor_shape: { dim: { size: string; name: string }[]; unknown_rank: boolean };
  name: string;
};

type SignatureDef = {
  inputs: Record<string, TensorInfo>;
  outputs: Record<string, TensorInfo>;
  method_name: string;
  defaults: Record<string, never>;
};

export type ServingMetadata = {
  model_spec: { name: string; signature_name: string; version: string };
  metadata: { signature_def: { signature_def: Record<string, SignatureDef> } };
};

/** `GET …/metadata`, as protobuf prints GetModelMetadataResponse: 64-bit integers are strings. */
export function servingMetadata(metadata: ModelMetadata): ServingMetadata {
  const { model, version, inputs, outputs } = metadata;
  const signatures: Record<string, SignatureDef> = {
    [DEFAULT_SIGNATURE]: {
      inputs: Object.fromEntries(inputs.map((spec) => [spec.name, tensorInfo(spec)])),
      outputs: Object.fromEntries(outputs.map((spec) => [spec.name, tensorInfo(spec)])),
      method_name: `${METHOD_PREFIX}predict`,
      defaults: {},
    },
  };
  if (scoresOf(metadata))
    signatures[`${METHOD_PREFIX}classify`] = exampleSignature("classify", {
      classes: tensorInfo({ name: "classes", datatype: "BYTES", shape: [-1, metadata.labels.length] }),
      scores: tensorInfo({ ...scoresOf(metadata)!, shape: [-1, metadata.labels.length] }),
    });
  if (rowValueOf(metadata))
    signatures[`${METHOD_PREFIX}regress`] = exampleSignature("regress", {
      outputs: tensorInfo(rowValueOf(metadata)!),
    });
  return {
    model_spec: { name: model, signature_name: "", version },
    metadata: { signature_def: { signature_def: signatures } },
  };
}

/** Checks the name before the model is known. @throws {InvalidInputError} */
export function readSignatureName(value: unknown, verb: Verb): void {
  const known = [DEFAULT_SIGNATURE, METHOD_PREFIX + verb];
  if (value === undefined || value === "" || (typeof value === "string" && known.includes(value))) return;
  throw new InvalidInputError({
    field: "signature_name",
    received: describeJson(value),
    expected: `nothing, ${known.map((name) => `"${name}"`).join(" or ")}`,
  });
}

/** The output that holds scores of the model's classes. @throws {InvalidInputError} when it has none */
export function scoresOutput(metadata: ModelMetadata): TensorSpec {
  const scores = scoresOf(metadata);
  if (!scores)
    throw cannot(metadata, "classify", "a model whose first output has class names; predict serves others");
  return scores;
}

/** The output with one number per row. @throws {InvalidInputError} when there is no such one */
export function valueOutput(metadata: ModelMetadata): TensorSpec {
  const value = rowValueOf(metadata);
  if (!value)
    throw cannot(
      metadata,
      "regress",
      "a model whose only output is one FP32 or FP64 number per row, without class names; predict serves others",
    );
  return value;
}

function scoresOf({ outputs, labels }: ModelMetadata): TensorSpec | undefined {
  const [first] = outputs;
  if (!first || labels.length === 0 || !isFloat(first) || first.shape.length !== 2) return undefined;
  const classes = first.shape[1]!;
  // One output may stand for two classes: it is the probability of the second.
  const fits = classes === -1 || classes === labels.length || (classes === 1 && labels.length === 2);
  return fits ? first : undefined;
}

function rowValueOf({ outputs, labels }: ModelMetadata): TensorSpec | undefined {
  const [only] = outputs;
  if (!only || outputs.length > 1 || labels.length > 0 || !isFloat(only)) return undefined;
  const { shape } = only;
  return shape.length === 1 || (shape.length === 2 && shape[1] === 1) ? only : undefined;
}

function isFloat({ datatype }: TensorSpec): boolean {
  return datatype === "FP32" || datatype === "FP64";
}

function cannot({ model, outputs, labels }: ModelMetadata, verb: Verb, expected: string): InvalidInputError {
  const given = outputs.map(({ name, datatype, shape }) => `${name} ${datatype}${formatShape(shape)}`);
  return new InvalidInputError({
    field: `model '${model}' for ${verb}`,
    received: `outputs ${given.join(", ")} with ${labels.length} class names`,
    expected,
  });
}

function exampleSignature(verb: Verb, outputs: Record<string, TensorInfo>): SignatureDef {
  const examples: TensorInfo = {
    dtype: DT_NAMES.BYTES,
    tensor_shape: { dim: [], unknown_rank: true },
    name: "tf_example:0",
  };
  return { inputs: { inputs: examples }, outputs, method_name: METHOD_PREFIX + verb, defaults: {} };
}

function tensorInfo({ name, datatype, shape }: TensorSpec): TensorInfo {
  return {
    dtype: DT_NAMES[datatype],
    tensor_shape: {
      dim: shape.map((size) => ({ size: String(size), name: "" })),
      unknown_rank: false,
    },
    name: `${name}:0`,
  };
}
