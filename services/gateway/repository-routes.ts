/** The Open Inference Protocol's extensions about models as such, over HTTP: repository, configuration, statistics. */

import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { hangUpSignal } from "../../lib/http/hang-up.ts";
import { checkRepositoryRequest, readIndexRequest } from "../../lib/oip/repository.ts";
import type { Backend } from "./backend.ts";
import { configurationOf, indexOf, loadModel, statisticsOf, unloadModel } from "./repository.ts";

export function repositoryRoutes(backend: Backend): Route[] {
  const statistics = async ({ params: { model, version } }: Exchange) =>
    json(
      await statisticsOf(backend, {
        ...(model !== undefined && { model }),
        ...(version !== undefined && { version }),
      }),
    );
  const configuration = async ({ params: { model, version } }: Exchange) =>
    json(await configurationOf(backend, { model: model!, ...(version !== undefined && { version }) }));
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

async function index(backend: Backend, { request }: Exchange): Promise<Reply> {
  const { ready } = readIndexRequest(await readBody(request, backend.bodyLimits));
  return json(await indexOf(backend, ready));
}

async function load(backend: Backend, { request, response, params }: Exchange): Promise<Reply> {
  checkRepositoryRequest(await readBody(request, backend.bodyLimits), "load");
  await loadModel(backend, params.model!, hangUpSignal(request, response));
  return json({});
}

async function unload(backend: Backend, { request, response, params }: Exchange): Promise<Reply> {
  checkRepositoryRequest(await readBody(request, backend.bodyLimits), "unload");
  await unloadModel(backend, params.model!, hangUpSignal(request, response));
  return json({});
}
