/** A model's canary and shadow under /api: what they have come to on every node, setting and ending them. */

import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { parseJsonObject } from "../../lib/http/json-body.ts";
import type { Backend } from "./backend.ts";

/** Of one node, to say what it has. */
const NODE_TIMEOUT_MS = 2_000;

export function rolloutRoutes(backend: Backend): Route[] {
  return [
    { method: "GET", path: "/api/models/:model/rollout", handle: (exchange) => read(backend, exchange) },
    { method: "PUT", path: "/api/models/:model/rollout", handle: (exchange) => set(backend, exchange) },
    {
      method: "DELETE",
      path: "/api/models/:model/rollout",
      handle: async ({ params }) =>
        json(await backend.call("registry.rollOut", { model: params.model!, rollout: {} })),
    },
  ];
}

async function read({ call, callEach }: Backend, { params }: Exchange): Promise<Reply> {
  const model = params.model!;
  const { rollout, rollbacks = [] } = await call("registry.get", { model });
  const nodes = await callEach("inference.rollout", { model }, { timeout: NODE_TIMEOUT_MS });
  return json({ model, ...(rollout && { rollout }), rollbacks, nodes });
}

async function set(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  // The registry knows what a rollout must look like, and says so field by field.
  const rollout = parseJsonObject(await readBody(request, backend.bodyLimits));
  return json(await backend.call("registry.rollOut", { model: params.model!, rollout: rollout as never }));
}
