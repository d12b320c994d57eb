/** Open Inference Protocol v2, model repository extension: the index, and what its requests may say. */

import { InvalidInputError } from "../errors.ts";
import { asObject, bodyText, describeJson, parseJson } from "../http/json-body.ts";
import type { VersionState } from "../protocol/inference.ts";
import type { ModelRecord } from "../protocol/models.ts";
import type { FolderState } from "../protocol/repository.ts";

export type IndexEntry = {
  name: string;
  /** Empty: the model as such. */
  version: string;
  state: "READY" | "LOADING" | "UNLOADING" | "UNAVAILABLE";
  reason: string;
};

const STATES = {
  ready: "READY",
  loading: "LOADING",
  unloading: "UNLOADING",
  failed: "UNAVAILABLE",
} as const;
/** What one node has is had: the first of these that some node says. */
const PRECEDENCE = ["ready", "loading", "unloading", "failed"] as const;

/**
 * Every version of every model, by name and number, and what model folders hold that could not be taken in.
 * @param states of every node
 * @param folders of every node; what is wrong with the folder of a version that is published is its reason
 */
export function repositoryIndex(
  records: readonly ModelRecord[],
  states: readonly VersionState[],
  folders: readonly FolderState[],
  onlyReady: boolean,
): IndexEntry[] {
  const byVersion = Map.groupBy(states, ({ model, version }) => JSON.stringify([model, version]));
  const entries = records
    .toSorted((a, b) => (a.model < b.model ? -1 : 1))
    .flatMap(({ model, versions, unloaded }) =>
      versions.map((number): IndexEntry => {
        const version = String(number);
        const found = foremost(byVersion.get(JSON.stringify([model, version])) ?? []);
        if (found) return { name: model, version, state: STATES[found.state], reason: found.reason };
        const reason = unloaded ? "unloaded" : "not among the versions served";
        return { name: model, version, state: "UNAVAILABLE", reason };
      }),
    );
  const all = withFolders(entries, folders);
  return onlyReady ? all.filter(({ state }) => state === "READY") : all;
}

function withFolders(entries: readonly IndexEntry[], folders: readonly FolderState[]): IndexEntry[] {
  const idOf = (name: string, version: string) => JSON.stringify([name, version]);
  const faults = new Map(folders.map((folder) => [idOf(folder.model, folder.version), folder]));
  const published = entries.map((entry) => {
    const id = idOf(entry.name, entry.version);
    const fault = faults.get(id);
    faults.delete(id);
    return fault?.state === "failed" ? { ...entry, reason: fault.reason } : entry;
  });
  const others = [...faults.values()].map(({ model, version, state, reason }): IndexEntry => {
    return { name: model, version, state: state === "failed" ? "UNAVAILABLE" : "LOADING", reason };
  });
  return others.length === 0 ? published : [...published, ...others].sort(byName);
}

function byName(a: IndexEntry, b: IndexEntry): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return Number(a.version) - Number(b.version);
}

function foremost(states: readonly VersionState[]): VersionState | undefined {
  for (const state of PRECEDENCE) {
    const found = states.find((candidate) => candidate.state === state);
    if (found) return found;
  }
  return undefined;
}

/** `{"ready": true}` asks for what is ready alone. An empty body asks for all. */
export function readIndexRequest(body: Buffer): { ready: boolean } {
  const { ready = false } = readBodyObject(body);
  if (typeof ready !== "boolean")
    throw new InvalidInputError({ field: "ready", received: describeJson(ready), expected: "true or false" });
  return { ready };
}

/** Parameters that may be given. */
const KNOWN = { load: [] as string[], unload: ["unload_dependents"] } as const;

/** The body of a request to load or unload a model. */
export function checkRepositoryRequest(body: Buffer, request: keyof typeof KNOWN): void {
  const { parameters = {} } = readBodyObject(body);
  checkRepositoryParameters(asObject(parameters, "parameters"), request);
}

/**
 * Requests to load take no parameters that would change what is loaded: versions are immutable, and configurations
 * have a route of their own.
 */
export function checkRepositoryParameters(
  parameters: Readonly<Record<string, unknown>>,
  request: keyof typeof KNOWN,
): void {
  const known: readonly string[] = KNOWN[request];
  for (const [name, value] of Object.entries(parameters)) {
    if (!known.includes(name))
      throw new InvalidInputError({
        field: `parameters.${name}`,
        received: describeJson(value),
        expected: "no such parameter: publish a version, or set the model's configuration, instead",
      });
    if (typeof value !== "boolean")
      throw new InvalidInputError({
        field: `parameters.${name}`,
        received: describeJson(value),
        expected: "true or false",
      });
  }
}

/** Clients may send nothing at all. */
function readBodyObject(body: Buffer): Record<string, unknown> {
  return body.length === 0 ? {} : asObject(parseJson(bodyText(body)), "body");
}
