/** The management API under /api: models and their aliases, training jobs and their events. */

import { InvalidInputError } from "../../lib/errors.ts";
import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, queryOf, type Reply, type Route } from "../../lib/http/exchange.ts";
import { describeJson, parseJsonObject } from "../../lib/http/json-body.ts";
import type { Actions } from "../../lib/protocol/actions.ts";
import { JOB_STATES, type JobState } from "../../lib/protocol/jobs.ts";
import type { Backend } from "./backend.ts";
import { ensembleRoutes } from "./ensemble-routes.ts";
import { rolloutRoutes } from "./rollout-routes.ts";

const MAX_LISTED = 1_000;

export function managementRoutes(backend: Backend): Route[] {
  const { call } = backend;
  const cancel = async ({ params }: Exchange): Promise<Reply> =>
    json(await call("trainer.cancel", { id: params.id! }), 202);
  return [
    { method: "GET", path: "/api/models", handle: async () => json(await call("registry.list", {})) },
    {
      method: "GET",
      path: "/api/models/:model",
      handle: async ({ params }) => json(await call("registry.get", { model: params.model! })),
    },
    {
      method: "GET",
      path: "/api/models/:model/versions/:version",
      handle: async ({ params }) =>
        json(await call("registry.version", { model: params.model!, version: params.version! })),
    },
    {
      method: "PUT",
      path: "/api/models/:model/aliases/:alias",
      handle: (exchange) => moveAlias(backend, exchange),
    },
    {
      method: "PUT",
      path: "/api/models/:model/configuration",
      handle: (exchange) => configure(backend, exchange),
    },
    ...rolloutRoutes(backend),
    ...ensembleRoutes(backend),
    { method: "POST", path: "/api/jobs", handle: (exchange) => startJob(backend, exchange) },
    { method: "GET", path: "/api/jobs", handle: (exchange) => listJobs(backend, exchange) },
    {
      method: "GET",
      path: "/api/jobs/:id",
      handle: async ({ params }) => json(await call("trainer.get", { id: params.id! })),
    },
    { method: "POST", path: "/api/jobs/:id/cancel", handle: cancel },
    { method: "DELETE", path: "/api/jobs/:id", handle: cancel },
    {
      method: "GET",
      path: "/api/jobs/:id/events",
      handle: async ({ params, response }) => {
        await backend.streams.open(params.id!, response);
        return undefined;
      },
    },
  ];
}

async function moveAlias(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  const { version } = parseJsonObject(await readBody(request, backend.bodyLimits));
  if (!Number.isSafeInteger(version) || (version as number) < 1)
    throw new InvalidInputError({
      field: "version",
      received: describeJson(version),
      expected: "a version number, from 1",
    });
  const moved = { model: params.model!, alias: params.alias!, version: version as number };
  return json(await backend.call("registry.setAlias", moved));
}

async function configure(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  const configuration = parseJsonObject(await readBody(request, backend.bodyLimits));
  return json(await backend.call("registry.configure", { model: params.model!, configuration }));
}

async function startJob(backend: Backend, { request }: Exchange): Promise<Reply> {
  // The trainer knows what a training request must look like, and says so field by field.
  const spec = parseJsonObject(
    await readBody(request, backend.bodyLimits),
  ) as Actions["trainer.start"]["params"];
  const job = await backend.call("trainer.start", spec);
  return json(job, 202, { Location: `/api/jobs/${encodeURIComponent(job.id)}` });
}

async function listJobs(backend: Backend, { request }: Exchange): Promise<Reply> {
  const query = queryOf(request);
  const params: Actions["trainer.list"]["params"] = {};
  const state = query.get("state");
  if (state !== null) params.state = readState(state);
  const limit = query.get("limit");
  if (limit !== null) params.limit = readLimit(limit);
  return json(await backend.call("trainer.list", params));
}

function readState(value: string): JobState {
  if (!(JOB_STATES as readonly string[]).includes(value))
    throw new InvalidInputError({
      field: "query parameter 'state'",
      received: describeJson(value),
      expected: `one of ${JOB_STATES.join(", ")}`,
    });
  return value as JobState;
}

function readLimit(value: string): number {
  const limit = Number(value);
  if (!/^\d+$/.test(value) || limit < 1 || limit > MAX_LISTED)
    throw new InvalidInputError({
      field: "query parameter 'limit'",
      received: describeJson(value),
      expected: `an integer from 1 to ${MAX_LISTED}`,
    });
  return limit;
}
