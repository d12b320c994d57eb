/** The Open Inference Protocol's extensions about models as such: repository, configuration, statistics. */

import { setTimeout as delay } from "node:timers/promises";
import { LoadFailedError, ModelNotReadyError } from "../../lib/errors.ts";
import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { modelConfig } from "../../lib/oip/model-config.ts";
import { checkRepositoryRequest, readIndexRequest, repositoryIndex } from "../../lib/oip/repository.ts";
import { statisticsAnswer } from "../../lib/oip/statistics.ts";
import type { VersionState } from "../../lib/protocol/inference.ts";
import type { ModelRecord } from "../../lib/protocol/models.ts";
import type { Backend } from "./backend.ts";

/** Of one node, to say what it has. */
const NODE_TIMEOUT_MS = 2_000;
/** Longest wait for nodes to load or to let go of a model. */
const CHANGE_TIMEOUT_MS = 60_000;
const POLL_MS = 25;

export function repositoryRoutes(backend: Backend): Route[] {
  const statistics = (exchange: Exchange) => answerStatistics(backend, exchange);
  const configuration = (exchange: Exchange) => answerConfiguration(backend, exchange);
  return [
    { method: "GET", path: "/v2/models/stats", handle: statistics },
    { method: "GET", path: "/v2/models/:model/stats", handle: statistics },
    { method: "GET", path: "/v2/models/:model/versions/:version/stats", handle: statistics },
    { method: "GET", path: "/v2/models/:model/config", handle: configuration },
    { method: "GET", path: "/v2/models/:model/versions/:version/config", handle: configuration },
    { method: "POST", path: "/v2/repository/index", handle: (exchange) => index(backend, exchange) },
    {
      method: "POST",
      path: "/v2/repository/models/:model/load",
      handle: (exchange) => load(backend, exchange),
    },
    {
      method: "POST",
      path: "/v2/repository/models/:model/unload",
      handle: (exchange) => unload(backend, exchange),
    },
  ];
}

async function answerStatistics({ callEach }: Backend, { params }: Exchange): Promise<Reply> {
  const { model, version } = params;
  const asked = { ...(model !== undefined && { model }), ...(version !== undefined && { version }) };
  const nodes = await callEach("inference.statistics", asked, { timeout: NODE_TIMEOUT_MS });
  return json(statisticsAnswer(nodes.flat()));
}

async function answerConfiguration({ call, servingDefaults }: Backend, { params }: Exchange): Promise<Reply> {
  const { model, version } = params;
  const asked = version === undefined ? { model: model! } : { model: model!, version };
  const [metadata, { configuration = {} }] = await Promise.all([
    call("inference.metadata", asked),
    call("registry.get", { model: model! }),
  ]);
  return json(modelConfig(metadata, configuration, servingDefaults));
}

async function index(backend: Backend, { request }: Exchange): Promise<Reply> {
  const { ready } = readIndexRequest(await readBody(request, backend.bodyLimits));
  const [records, states] = await Promise.all([backend.call("registry.list", {}), statesOf(backend)]);
  return json(repositoryIndex(records, states, ready));
}

/** Answers once every node has what it should, or says why one could not load it. */
async function load(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  const model = params.model!;
  checkRepositoryRequest(await readBody(request, backend.bodyLimits), []);
  const record = await backend.call("registry.setLoaded", { model, loaded: true });
  if (!asksForAny(record))
    throw new LoadFailedError(model, "none", "its configuration asks for no version that there is");
  await settled(backend, model, "it is being loaded", (states) => {
    const failed = states.find(({ state }) => state === "failed");
    if (failed) throw new LoadFailedError(model, failed.version, failed.reason);
    return states.length > 0 && states.every(({ state }) => state === "ready");
  });
  return json({});
}

/** Whether there is a version that an alias points to or the configuration asks for. */
function asksForAny({ versions, aliases, configuration }: ModelRecord): boolean {
  const asked = configuration?.versions;
  if (typeof asked !== "object" || !("numbers" in asked) || Object.keys(aliases).length > 0) return true;
  return asked.numbers.some((number) => versions.includes(number));
}

/** Answers once no node holds it and its last predictions have been answered. */
async function unload(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  const model = params.model!;
  checkRepositoryRequest(await readBody(request, backend.bodyLimits), ["unload_dependents"]);
  await backend.call("registry.setLoaded", { model, loaded: false });
  await settled(backend, model, "it is being unloaded", (states) => states.length === 0);
  return json({});
}

async function settled(
  backend: Backend,
  model: string,
  meanwhile: string,
  isSettled: (states: VersionState[]) => boolean,
): Promise<void> {
  const giveUpAt = performance.now() + CHANGE_TIMEOUT_MS;
  while (!isSettled((await statesOf(backend)).filter((version) => version.model === model))) {
    if (performance.now() > giveUpAt) throw new ModelNotReadyError(model, "latest", meanwhile);
    await delay(POLL_MS);
  }
}

async function statesOf({ callEach }: Backend): Promise<VersionState[]> {
  return (await callEach("inference.states", {}, { timeout: NODE_TIMEOUT_MS })).flat();
}
