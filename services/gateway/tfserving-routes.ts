/**
 * TensorFlow Serving's REST API under /v1, and KServe v1's, whose paths are the same. A version is a number, a label an
 * alias. Paths match in either case, as there. Where the two servers' ways and the gateway's own differ (a wrong method
 * is 405, an unknown label 404), docs/reference.md says so.
 */

import { InvalidInputError, MethodNotAllowedError, ModelVersionNotFoundError } from "../../lib/errors.ts";
import { readBody } from "../../lib/http/body.ts";
import { type Exchange, json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { hangUpSignal } from "../../lib/http/hang-up.ts";
import type {
  ModelMetadata,
  PredictRequest,
  PredictResponse,
  VersionState,
} from "../../lib/protocol/inference.ts";
import { readExampleRequest } from "../../lib/tfserving/example-request.ts";
import { printClassifyResponse, printRegressResponse } from "../../lib/tfserving/example-response.ts";
import { readPredictRequest } from "../../lib/tfserving/predict-request.ts";
import { printPredictResponse } from "../../lib/tfserving/predict-response.ts";
import { parseRequestBody, type RequestBody } from "../../lib/tfserving/request-body.ts";
import {
  readSignatureName,
  scoresOutput,
  servingMetadata,
  type Verb,
  valueOutput,
} from "../../lib/tfserving/signature.ts";
import { servingStatus } from "../../lib/tfserving/status.ts";
import type { Backend } from "./backend.ts";
import { pathOf } from "./dispatch.ts";
import { labelsOf, predict } from "./infer.ts";
import { applyHeaders } from "./prediction-headers.ts";

const STATUS_TIMEOUT_MS = 2_000;
const PLAIN_PREDICT = /^\/v1\/models\/([\w.-]+):predict$/;
const VERB = /:(?:predict|classify|regress)$/i;
/** What fits 64 bits, as that server reads it. */
const VERSION = /^\d{1,18}$/;

export function tfservingRoutes(backend: Backend): Route[] {
  const predict = (exchange: Exchange) => answerPredict(backend, exchange);
  const classify = (exchange: Exchange) => answerClassify(backend, exchange);
  const regress = (exchange: Exchange) => answerRegress(backend, exchange);
  const status = (exchange: Exchange) => answerStatus(backend, exchange);
  const metadata = (exchange: Exchange) => answerMetadata(backend, exchange);
  return [
    {
      method: "POST",
      path: "/v1/models/:model\\:predict",
      handle: predict,
      recognise: (url) => {
        const model = PLAIN_PREDICT.exec(url)?.[1];
        return model === undefined ? undefined : { model };
      },
    },
    { method: "POST", path: "/v1/models/:model/versions/:version\\:predict", handle: predict },
    { method: "POST", path: "/v1/models/:model/labels/:label\\:predict", handle: predict },
    { method: "POST", path: "/v1/models/:model\\:classify", handle: classify },
    { method: "POST", path: "/v1/models/:model/versions/:version\\:classify", handle: classify },
    { method: "POST", path: "/v1/models/:model/labels/:label\\:classify", handle: classify },
    { method: "POST", path: "/v1/models/:model\\:regress", handle: regress },
    { method: "POST", path: "/v1/models/:model/versions/:version\\:regress", handle: regress },
    { method: "POST", path: "/v1/models/:model/labels/:label\\:regress", handle: regress },
    { method: "GET", path: "/v1/models", handle: () => listModels(backend) },
    { method: "GET", path: "/v1/models/:model", handle: status },
    { method: "GET", path: "/v1/models/:model/versions/:version", handle: status },
    { method: "GET", path: "/v1/models/:model/labels/:label", handle: status },
    { method: "GET", path: "/v1/models/:model/metadata", handle: metadata },
    { method: "GET", path: "/v1/models/:model/versions/:version/metadata", handle: metadata },
    { method: "GET", path: "/v1/models/:model/labels/:label/metadata", handle: metadata },
  ];
}

type Called = { body: RequestBody; metadata: ModelMetadata; version: string | undefined };

/** What every verb reads first, in that server's order: the path, the body, the signature's name, the model. */
async function readCall(backend: Backend, { request, params }: Exchange, verb: Verb): Promise<Called> {
  const version = versionOf(params);
  const body = parseRequestBody(await readBody(request, backend.bodyLimits));
  readSignatureName(body.root.signature_name, verb);
  // Awaiting what is already there would cost the hot path a turn of the microtask queue.
  const known = backend.metadata.get(params.model!, version);
  return { body, metadata: known instanceof Promise ? await known : known, version };
}

async function answerPredict(backend: Backend, exchange: Exchange): Promise<Reply> {
  const { body, metadata, version } = await readCall(backend, exchange, "predict");
  const { request, format } = readPredictRequest(body, metadata, version);
  return reply(printPredictResponse(await answered(backend, exchange, request), format));
}

async function answerClassify(backend: Backend, exchange: Exchange): Promise<Reply> {
  const { body, metadata, version } = await readCall(backend, exchange, "classify");
  const request = readExampleRequest(body, metadata, version, scoresOutput(metadata).name);
  const response = await answered(backend, exchange, request);
  const labels = await labelsOf(backend, response, metadata);
  return reply(printClassifyResponse(response, labels, rowsOf(request)));
}

async function answerRegress(backend: Backend, exchange: Exchange): Promise<Reply> {
  const { body, metadata, version } = await readCall(backend, exchange, "regress");
  const request = readExampleRequest(body, metadata, version, valueOutput(metadata).name);
  return reply(printRegressResponse(await answered(backend, exchange, request), rowsOf(request)));
}

function answered(
  backend: Backend,
  { request: from, response: to }: Exchange,
  request: PredictRequest,
): Promise<PredictResponse> {
  applyHeaders(from, request);
  return predict(backend, request, { signal: hangUpSignal(from, to), of: from });
}

async function answerMetadata(backend: Backend, { params }: Exchange): Promise<Reply> {
  const version = versionOf(params);
  const model = params.model!;
  const asked = version === undefined ? { model } : { model, version };
  return json(servingMetadata(await backend.call("inference.metadata", asked)));
}

async function answerStatus(backend: Backend, { request, params }: Exchange): Promise<Reply> {
  const model = params.model!;
  // A verb belongs to POST; as part of a name it could not be a model's.
  if (VERB.test(model)) throw new MethodNotAllowedError(request.method ?? "", pathOf(request), ["POST"]);
  const version = await numberOf(backend, params);
  const options = { timeout: STATUS_TIMEOUT_MS };
  const states = await backend.call("inference.states", { model }, options);
  if (version !== undefined) return versionStatus(backend, model, version, states);
  const { ready } = await backend.call("inference.ready", { model }, options);
  return json(servingStatus(model, states, ready && !backend.draining()));
}

function versionStatus(
  backend: Backend,
  model: string,
  version: string,
  states: readonly VersionState[],
): Reply {
  const own = states.filter((state) => state.version === version);
  if (own.length === 0)
    throw new ModelVersionNotFoundError(
      model,
      version,
      states.map((state) => state.version),
    );
  const ready = own.some(({ state }) => state === "ready");
  return json(servingStatus(model, own, ready && !backend.draining()));
}

async function listModels(backend: Backend): Promise<Reply> {
  const records = await backend.call("registry.list", {});
  return json({ models: records.map(({ model }) => model) });
}

/** The version in digits; a label's is where its alias points. */
async function numberOf(backend: Backend, params: Exchange["params"]): Promise<string | undefined> {
  const version = versionOf(params);
  if (params.label === undefined) return version;
  const { model, aliases, versions } = await backend.call("registry.get", { model: params.model! });
  if (Object.hasOwn(aliases, params.label)) return String(aliases[params.label]);
  throw new ModelVersionNotFoundError(model, params.label, [...versions, ...Object.keys(aliases)]);
}

/** As the inference service takes it. @throws {InvalidInputError} */
function versionOf({ version, label }: Exchange["params"]): string | undefined {
  if (version !== undefined && !VERSION.test(version))
    throw new InvalidInputError({
      field: "version",
      received: JSON.stringify(version),
      expected: "a number; aliases are labels: /labels/{label}",
    });
  if (label !== undefined && /^\d+$/.test(label))
    throw new InvalidInputError({
      field: "label",
      received: JSON.stringify(label),
      expected: "an alias; numbers are versions: /versions/{version}",
    });
  return version ?? label;
}

function rowsOf({ inputs }: PredictRequest): number {
  return inputs[0]?.shape[0] ?? 0;
}

function reply(body: string): Reply {
  return { status: 200, body };
}
