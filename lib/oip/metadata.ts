/** Open Inference Protocol v2: model metadata, server metadata and readiness, as JSON values. */

import type { ModelMetadata } from "../protocol/inference.ts";
import type { TensorSpec } from "../tensor/tensor.ts";

/** Protocol extensions that work here, in Triton's order. A client may rely on every name in this list. */
export const EXTENSIONS: readonly string[] = [
  "classification",
  "model_repository",
  "schedule_policy",
  "model_configuration",
  "binary_tensor_data",
  "parameters",
  "statistics",
];

export type OipModelMetadata = {
  name: string;
  versions: string[];
  platform: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
};

export function modelMetadata(metadata: ModelMetadata): OipModelMetadata {
  const { model, versions, platform, inputs, outputs } = metadata;
  return { name: model, versions, platform, inputs, outputs };
}

export type ServerMetadata = { name: string; version: string; extensions: readonly string[] };

/** @param server as configured: some clients check name and version */
export function serverMetadata(server: { name: string; version: string }): ServerMetadata {
  return { ...server, extensions: EXTENSIONS };
}
