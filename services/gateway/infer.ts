/**
 * `POST …/infer` of the Open Inference Protocol: a body in, a prediction, the answer in the form that was asked for.
 * Copies on the way: lib/http/body.ts and lib/oip/raw-tensor.ts say when; large binary data of an answer are not copied.
 */

import { readBody } from "../../lib/http/body.ts";
import type { Exchange, Reply } from "../../lib/http/exchange.ts";
import { hangUpSignal } from "../../lib/http/hang-up.ts";
import { type InferRequest, parseInferRequest } from "../../lib/oip/infer-request.ts";
import { type InferAnswer, printInferResponse } from "../../lib/oip/infer-response.ts";
import { assertWithin, INFERENCE_HEADER, readHeaderBytes } from "../../lib/oip/inference-header.ts";
import { parseRawRequest } from "../../lib/oip/raw-request.ts";
import { classified, wantsClasses } from "../../lib/oip/requested-outputs.ts";
import type { ModelMetadata, PredictRequest, PredictResponse } from "../../lib/protocol/inference.ts";
import type { Backend } from "./backend.ts";
import { applyHeaders } from "./prediction-headers.ts";

const INFERENCE_HEADER_KEY = INFERENCE_HEADER.toLowerCase();
const BINARY_TYPE = "application/octet-stream";

export async function infer(backend: Backend, { request, response: to, params }: Exchange): Promise<Reply> {
  const headerBytes = readHeaderBytes(request.headers[INFERENCE_HEADER_KEY]);
  const body = await readBody(request, backend.bodyLimits, headerBytes);
  if (headerBytes !== undefined) assertWithin(headerBytes, body.length);
  const { model, version } = params;
  const parsed =
    headerBytes === 0
      ? await rawRequest(backend, body, model!, version)
      : parseInferRequest(body, model!, version, headerBytes);
  applyHeaders(request, parsed.request);
  const response = await predict(backend, parsed.request, { signal: hangUpSignal(request, to), of: request });
  const printed = wantsClasses(parsed.form) ? await withClasses(backend, response, parsed) : response;
  return replyOf(printInferResponse(printed, parsed.id, parsed.form));
}

/** What the client's call allows. */
export type CallTerms = {
  /** Until the client stops waiting. @default as long as a prediction may take */
  timeoutMs?: number;
  /** Aborts when the client has stopped waiting. */
  signal?: AbortSignal;
  /** What the access log finds the call by. */
  of?: object;
};

export function predict(
  backend: Backend,
  request: PredictRequest,
  { timeoutMs = backend.predictTimeoutMs, signal, of }: CallTerms = {},
): Promise<PredictResponse> {
  const timeout = Math.min(timeoutMs, backend.predictTimeoutMs);
  const answer = backend.call("inference.predict", request, signal ? { timeout, signal } : { timeout });
  const { accessLog } = backend;
  if (!accessLog || !of) return answer;
  return answer.then((response) => {
    accessLog.predicted(of, response);
    return response;
  });
}

async function rawRequest(
  backend: Backend,
  body: Buffer,
  model: string,
  version: string | undefined,
): Promise<InferRequest> {
  return parseRawRequest(body, await backend.metadata.get(model, version), version);
}

/**
 * Class names of the version that answered: what is known of the model may be of the version before it, or of that which
 * shares its requests with another.
 */
export function labelsOf(
  { metadata }: Backend,
  { model, version }: PredictResponse,
  known: ModelMetadata,
): string[] | Promise<string[]> {
  if (version === known.version) return known.labels;
  return Promise.resolve(metadata.get(model, version)).then(({ labels }) => labels);
}

/** The answer with classes instead of scores where the request asks for them. */
export async function withClasses(
  backend: Backend,
  response: PredictResponse,
  { form }: InferRequest,
): Promise<PredictResponse> {
  const metadata = await backend.metadata.get(response.model, response.version);
  return { ...response, outputs: classified(response.outputs, form, metadata) };
}

function replyOf({ json, binary }: InferAnswer): Reply {
  if (binary.length === 0) return { status: 200, body: json };
  const header = Buffer.from(json);
  return {
    status: 200,
    body: [header, ...binary],
    contentType: BINARY_TYPE,
    headers: { [INFERENCE_HEADER]: String(header.length) },
  };
}
