/** Open Inference Protocol v2 under /v2, and the plain `POST /predict` for images. */

import { errorType } from "../../lib/errors.ts";
import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { hangUpSignal } from "../../lib/http/hang-up.ts";
import { type ImageBody, imagePredictRequest, parseImageBody } from "../../lib/images/predict-request.ts";
import { printImageResponse } from "../../lib/images/predict-response.ts";
import { modelMetadata, serverMetadata } from "../../lib/oip/metadata.ts";
import type { ModelMetadata, Readiness } from "../../lib/protocol/inference.ts";
import type { Backend } from "./backend.ts";
import { infer, labelsOf, predict } from "./infer.ts";
import { applyHeaders } from "./prediction-headers.ts";
import { modelReadiness, serverReadiness } from "./readiness.ts";

const PLAIN_INFER = /^\/v2\/models\/([\w.-]+)\/infer$/;
const PLAIN_VERSION_INFER = /^\/v2\/models\/([\w.-]+)\/versions\/([\w.-]+)\/infer$/;

export function inferenceRoutes(backend: Backend): Route[] {
  return [
    // The hot paths first: routes are tried in order.
    {
      method: "POST",
      path: "/v2/models/:model/infer",
      handle: (exchange) => infer(backend, exchange),
      recognise: (url) => {
        const model = PLAIN_INFER.exec(url)?.[1];
        return model === undefined ? undefined : { model };
      },
    },
    {
      method: "POST",
      path: "/predict",
      handle: (exchange) => predictImage(backend, exchange),
      recognise: (url) => (url === "/predict" ? {} : undefined),
    },
    {
      method: "POST",
      path: "/v2/models/:model/versions/:version/infer",
      handle: (exchange) => infer(backend, exchange),
      recognise: (url) => {
        const [, model, version] = PLAIN_VERSION_INFER.exec(url) ?? [];
        return model === undefined ? undefined : { model, version: version! };
      },
    },
    { method: "GET", path: "/v2/health/live", handle: () => json({ live: true }) },
    { method: "GET", path: "/v2/health/ready", handle: () => serverReady(backend) },
    { method: "GET", path: "/v2", handle: () => json(serverMetadata(backend.server)) },
    { method: "GET", path: "/v2/models/:model", handle: (exchange) => metadata(backend, exchange) },
    { method: "GET", path: "/v2/models/:model/ready", handle: (exchange) => modelReady(backend, exchange) },
    {
      method: "GET",
      path: "/v2/models/:model/versions/:version",
      handle: (exchange) => metadata(backend, exchange),
    },
    {
      method: "GET",
      path: "/v2/models/:model/versions/:version/ready",
      handle: (exchange) => modelReady(backend, exchange),
    },
  ];
}

async function predictImage(backend: Backend, { request, response: to }: Exchange): Promise<Reply> {
  const body = parseImageBody(await readBody(request, backend.bodyLimits));
  // Awaiting what is already there would cost the hot path a turn of the microtask queue.
  const known = modelOf(backend, body);
  const metadata = known instanceof Promise ? await known : known;
  const image = imagePredictRequest(body, metadata);
  applyHeaders(request, image.request);
  const response = await predict(backend, image.request, { signal: hangUpSignal(request, to), of: request });
  const labels = labelsOf(backend, response, metadata);
  const named = labels instanceof Promise ? await labels : labels;
  return { status: 200, body: printImageResponse(response, named, image.batch) };
}

/** The named model; else the default one; else, where there is only one, that. */
function modelOf(backend: Backend, { model, version }: ImageBody): ModelMetadata | Promise<ModelMetadata> {
  if (model !== undefined) return backend.metadata.get(model, version);
  const found = backend.metadata.get(backend.defaultModel, version);
  return found instanceof Promise
    ? found.catch((error: unknown) => onlyModel(backend, version, error))
    : found;
}

async function onlyModel(
  backend: Backend,
  version: string | undefined,
  error: unknown,
): Promise<ModelMetadata> {
  if (errorType(error) !== "MODEL_NOT_FOUND") throw error;
  const models = await backend.call("registry.list", {});
  if (models.length !== 1) throw error;
  return backend.metadata.get(models[0]!.model, version);
}

async function metadata(backend: Backend, { params }: Exchange): Promise<Reply> {
  return json(modelMetadata(await backend.call("inference.metadata", modelParams(params))));
}

async function modelReady(backend: Backend, { params }: Exchange): Promise<Reply> {
  return readinessReply(await modelReadiness(backend, modelParams(params)), { name: params.model });
}

async function serverReady(backend: Backend): Promise<Reply> {
  return readinessReply(await serverReadiness(backend));
}

function readinessReply({ ready, reason }: Readiness, about: Record<string, unknown> = {}): Reply {
  return ready ? json({ ...about, ready }) : json({ ...about, ready, reason }, 503, { "Retry-After": "1" });
}

function modelParams({ model, version }: Exchange["params"]): { model: string; version?: string } {
  return version === undefined ? { model: model! } : { model: model!, version };
}
