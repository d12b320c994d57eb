/**
 * What the pool and its worker threads say to each other. Every message to a worker carries a `seq` and is answered
 * by exactly one message with that `seq`; a worker answers in the order it was asked.
 */

import type { ExecutionProvider, WarmupRequest } from "../protocol/model-configuration.ts";
import type { ModelSignature } from "../protocol/models.ts";
import type { RunTimes } from "../protocol/statistics.ts";
import type { StoreLocation } from "../store/store.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { FlatError } from "./flat-error.ts";

/** Where a worker gets a model file: from the store, verified there, or as bytes. */
export type ModelSource = { location: StoreLocation; digest: string } | { bytes: Uint8Array };

export type LoadedModel = {
  signature: ModelSignature;
  /** Whether rows of several requests may be merged; see batch-probe.ts. */
  batchable: boolean;
};

/** How each instance of a model is made. */
export type InstanceOptions = {
  /** @default 1 */
  intraOpThreads?: number | undefined;
  /** @default "cpu" */
  provider?: ExecutionProvider | undefined;
  /** Run after one request of zeros, where the shapes allow that. @default none */
  warmup?: readonly WarmupRequest[] | undefined;
};

export type ToWorker =
  | { kind: "load"; seq: number; id: string; source: ModelSource; options: InstanceOptions }
  | { kind: "unload"; seq: number; id: string }
  /** `outputs` undefined: all, in the model's order. */
  | { kind: "run"; seq: number; id: string; feeds: Tensor[]; outputs: readonly string[] | undefined }
  | { kind: "close"; seq: number };

export type FromWorker =
  | { kind: "started" }
  | { kind: "loaded"; seq: number; model: LoadedModel }
  | { kind: "ran"; seq: number; outputs: Tensor[]; times: RunTimes }
  | { kind: "done"; seq: number }
  | { kind: "failed"; seq: number; error: FlatError };

/** `type` of a failure that the runtime itself reported while loading. */
export const LOAD_REFUSED = "LOAD_REFUSED";
/** `type` of a failure that the runtime itself reported while running. */
export const RUN_REFUSED = "RUN_REFUSED";
/** `type` of a model's configuration that this version, or this node, cannot follow. */
export const CONFIGURATION_REFUSED = "CONFIGURATION_REFUSED";

export class ConfigurationRefused extends Error {}
