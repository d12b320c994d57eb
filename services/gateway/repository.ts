/**
 * Models as such, whatever protocol asks: what they have done, how they are served, which there are, loading and
 * unloading. Loading and unloading are answered once every node has done it, or one has said why it cannot.
 */

import { setTimeout as delay } from "node:timers/promises";
import { CancelledError, errorType, LoadFailedError, ModelNotReadyError } from "../../lib/errors.ts";
import { modelConfig, type OipModelConfig } from "../../lib/oip/model-config.ts";
import { type IndexEntry, repositoryIndex } from "../../lib/oip/repository.ts";
import { type OipStatistics, statisticsAnswer } from "../../lib/oip/statistics.ts";
import type { VersionState } from "../../lib/protocol/inference.ts";
import type { ModelRecord } from "../../lib/protocol/models.ts";
import type { Backend } from "./backend.ts";

/** Of one node, to say what it has. */
const NODE_TIMEOUT_MS = 2_000;
/** Longest wait for nodes to load or to let go of a model. */
const CHANGE_TIMEOUT_MS = 60_000;
const POLL_MS = 25;

/** Of all versions of all models, of one model, or of one version. @throws {ModelNotFoundError} */
export async function statisticsOf(
  { callEach }: Backend,
  asked: { model?: string; version?: string },
): Promise<OipStatistics> {
  const nodes = await callEach("inference.statistics", asked, { timeout: NODE_TIMEOUT_MS });
  return statisticsAnswer(nodes.flat());
}

/** @throws {ModelNotFoundError} {ModelNotReadyError} */
export async function configurationOf(
  { call, servingDefaults }: Backend,
  asked: { model: string; version?: string },
): Promise<OipModelConfig> {
  const [metadata, { configuration = {} }] = await Promise.all([
    call("inference.metadata", asked),
    call("registry.get", { model: asked.model }),
  ]);
  return modelConfig(metadata, configuration, servingDefaults);
}

/** @param onlyReady leaves out what no node answers with */
export async function indexOf(backend: Backend, onlyReady: boolean): Promise<IndexEntry[]> {
  const [records, states, folders] = await Promise.all([
    backend.call("registry.list", {}),
    statesOf(backend),
    backend.callEach("registry.folders", {}, { timeout: NODE_TIMEOUT_MS }),
  ]);
  return repositoryIndex(
    records,
    states,
    folders.flatMap((node) => node.states),
    onlyReady,
  );
}

/**
 * @param signal aborts the wait, not the loading
 * @throws {LoadFailedError} {ModelNotFoundError} {ModelNotReadyError} when it takes too long
 */
export async function loadModel(
  backend: Backend,
  model: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const record = await backend.call("registry.setLoaded", { model, loaded: true }).catch(async (error) => {
    throw errorType(error) === "MODEL_NOT_FOUND" ? ((await folderFault(backend, model)) ?? error) : error;
  });
  if (!asksForAny(record))
    throw new LoadFailedError(model, "none", "its configuration asks for no version that there is");
  await settled(backend, model, "it is being loaded", signal, (states) => {
    const failed = states.find(({ state }) => state === "failed");
    if (failed) throw new LoadFailedError(model, failed.version, failed.reason);
    return states.length > 0 && states.every(({ state }) => state === "ready");
  });
}

/**
 * Done when no node holds the model and its last predictions have been answered.
 * @param signal aborts the wait, not the unloading
 * @throws {ModelNotFoundError} {ModelNotReadyError} when it takes too long
 */
export async function unloadModel(
  backend: Backend,
  model: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await backend.call("registry.setLoaded", { model, loaded: false });
  await settled(backend, model, "it is being unloaded", signal, (states) => states.length === 0);
}

/** Why a model that lies in a folder is not in the registry. */
async function folderFault(backend: Backend, model: string): Promise<LoadFailedError | undefined> {
  const nodes = await backend.callEach("registry.folders", {}, { timeout: NODE_TIMEOUT_MS });
  const fault = nodes.flatMap(({ states }) => states).find((state) => state.model === model && state.reason);
  return fault && new LoadFailedError(model, fault.version || "none", fault.reason);
}

/** Whether there is a version that an alias points to or the configuration asks for. */
function asksForAny({ versions, aliases, configuration }: ModelRecord): boolean {
  const asked = configuration?.versions;
  if (typeof asked !== "object" || !("numbers" in asked) || Object.keys(aliases).length > 0) return true;
  return asked.numbers.some((number) => versions.includes(number));
}

async function settled(
  backend: Backend,
  model: string,
  meanwhile: string,
  signal: AbortSignal | undefined,
  isSettled: (states: VersionState[]) => boolean,
): Promise<void> {
  const giveUpAt = performance.now() + CHANGE_TIMEOUT_MS;
  while (!isSettled((await statesOf(backend)).filter((version) => version.model === model))) {
    if (signal?.aborted) throw new CancelledError("Waiting for the nodes");
    if (performance.now() > giveUpAt) throw new ModelNotReadyError(model, "latest", meanwhile);
    await delay(POLL_MS);
  }
}

async function statesOf({ callEach }: Backend): Promise<VersionState[]> {
  return (await callEach("inference.states", {}, { timeout: NODE_TIMEOUT_MS })).flat();
}
