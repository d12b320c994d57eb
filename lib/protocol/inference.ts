/** What the inference service takes and gives. */

import type { Tensor, TensorSpec } from "../tensor/tensor.ts";

export type PredictRequest = {
  model: string;
  /** A version number in digits, or an alias. @default the production alias, else the latest version */
  version?: string;
  inputs: Tensor[];
  /** Names of wanted outputs. @default all */
  outputs?: string[];
  /** false neither reads nor writes the prediction cache. @default true */
  cache?: boolean;
};

export type PredictResponse = {
  model: string;
  version: string;
  outputs: Tensor[];
  /** Whether the answer came from the prediction cache. */
  cached: boolean;
};

export type ModelMetadata = {
  model: string;
  /** Versions loaded on this node. */
  versions: string[];
  version: string;
  platform: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  labels: string[];
};

export type Readiness = { ready: boolean; reason: string };
