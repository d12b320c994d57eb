/** Open Inference Protocol v2: model metadata, server metadata and readiness, as JSON values. */

import { PRODUCT } from "../product.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import type { TensorSpec } from "../tensor/tensor.ts";

/** Protocol extensions that work here. A client may rely on every name in this list. */
export const EXTENSIONS: readonly string[] = [];

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

export function serverMetadata(): {
  name: string;
  version: string;
  extensions: readonly string[];
} {
  return { ...PRODUCT, extensions: EXTENSIONS };
}
