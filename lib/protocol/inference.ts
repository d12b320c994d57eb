/** What the inference service takes and gives. */

import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import type { EnsembleStepMap } from "./ensembles.ts";

export type PredictRequest = {
  model: string;
  /** A version number in digits, or an alias. @default the production alias, else the latest version */
  version?: string;
  inputs: Tensor[];
  /** Names of wanted outputs. @default all */
  outputs?: string[];
  /** false neither reads nor writes the prediction cache. @default true */
  cache?: boolean;
  /** Whose turn it is among those that wait: 1 first; beyond the model's levels: last. @default 0: the model's default */
  priority?: number;
  /** Counted from arrival; past it the request is answered DEADLINE_EXCEEDED and never run. @default the node's */
  timeoutMs?: number;
  /** Whether inputs may hold NaN and infinities; where not, they are refused by name. @default false */
  nonFinite?: boolean;
  /** Requests of one key go to one node while it lives, and to one version while versions share the traffic. */
  affinity?: string;
  /** Ensembles that this is a step of, as model/version, the outermost first. @default none */
  within?: string[];
};

export type PredictResponse = {
  model: string;
  version: string;
  outputs: Tensor[];
  /** Whether the answer came from the prediction cache. */
  cached: boolean;
  /** Of an ensemble: what answered its steps, as model/version, by step. */
  steps?: Record<string, string>;
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
  /** Of an ensemble. */
  steps?: EnsembleStepMap[];
};

export type Readiness = { ready: boolean; reason: string };

/** One version on one node. */
export type VersionState = {
  model: string;
  version: string;
  state: "loading" | "ready" | "unloading" | "failed";
  /** Why it failed; else empty. */
  reason: string;
};
