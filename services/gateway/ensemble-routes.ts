/** Ensembles under /api: publishing one as the next version of a model, and what a version is made of. */

import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { parseJsonObject } from "../../lib/http/json-body.ts";
import type { Actions } from "../../lib/protocol/actions.ts";
import type { Backend } from "./backend.ts";

export function ensembleRoutes(backend: Backend): Route[] {
  return [
    { method: "POST", path: "/api/models/:model/versions", handle: (exchange) => publish(backend, exchange) },
    {
      method: "GET",
      path: "/api/models/:model/versions/:version/ensemble",
      handle: async ({ params }) =>
        json(await backend.call("registry.ensemble", { model: params.model!, version: params.version! })),
    },
  ];
}

async function publish(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  // The registry knows what an ensemble must look like, and says so field by field.
  const body = parseJsonObject(await readBody(request, backend.bodyLimits));
  const publication = { ...body, model: params.model! } as Actions["registry.publishEnsemble"]["params"];
  const version = await backend.call("registry.publishEnsemble", publication);
  const place = `/api/models/${encodeURIComponent(version.model)}/versions/${version.version}`;
  return json(version, 201, { Location: place });
}
