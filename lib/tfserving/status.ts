/**
 * TensorFlow Serving's ModelService.GetModelStatus as its REST API prints it, newest version first, with KServe v1's
 * `name` and `ready` in the same object: clients of either find what they look for.
 */

import type { VersionState } from "../protocol/inference.ts";

type ModelVersionStatus = {
  version: string;
  state: "START" | "LOADING" | "AVAILABLE" | "UNLOADING" | "END";
  status: { error_code: string; error_message: string };
};

export type ServingStatus = { model_version_status: ModelVersionStatus[]; name: string; ready: boolean };

const STATES = {
  loading: "LOADING",
  ready: "AVAILABLE",
  unloading: "UNLOADING",
  failed: "END",
} as const satisfies Record<VersionState["state"], ModelVersionStatus["state"]>;

/** @param ready whether a request that names no more than the caller did is answered */
export function servingStatus(name: string, states: readonly VersionState[], ready: boolean): ServingStatus {
  const newestFirst = states.toSorted((a, b) => Number(b.version) - Number(a.version));
  return { model_version_status: newestFirst.map(versionStatus), name, ready };
}

function versionStatus({ version, state, reason }: VersionState): ModelVersionStatus {
  const failed = state === "failed";
  return {
    version,
    state: STATES[state],
    status: { error_code: failed ? "UNKNOWN" : "OK", error_message: failed ? reason : "" },
  };
}
