/**
 * Triton's generate extension. A model answers once, so that a stream is one event; what goes wrong is answered with its
 * status before a stream begins.
 */

import { readBody } from "../../lib/http/body.ts";
import type { Exchange, Reply, Route } from "../../lib/http/exchange.ts";
import { hangUpSignal } from "../../lib/http/hang-up.ts";
import { parseGenerateRequest } from "../../lib/oip/generate-request.ts";
import { EVENT_STREAM_TYPE, printEvent, printGenerateResponse } from "../../lib/oip/generate-response.ts";
import type { Backend } from "./backend.ts";
import { predict } from "./infer.ts";
import { applyHeaders } from "./prediction-headers.ts";

export function generateRoutes(backend: Backend): Route[] {
  const generate = async (exchange: Exchange): Promise<Reply> => ({
    status: 200,
    body: await answer(backend, exchange),
  });
  const stream = async (exchange: Exchange): Promise<Reply> => ({
    status: 200,
    body: printEvent(await answer(backend, exchange)),
    contentType: EVENT_STREAM_TYPE,
    headers: { "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no" },
  });
  return [
    { method: "POST", path: "/v2/models/:model/generate", handle: generate },
    { method: "POST", path: "/v2/models/:model/versions/:version/generate", handle: generate },
    { method: "POST", path: "/v2/models/:model/generate_stream", handle: stream },
    { method: "POST", path: "/v2/models/:model/versions/:version/generate_stream", handle: stream },
  ];
}

async function answer(backend: Backend, { request: from, response: to, params }: Exchange): Promise<string> {
  const body = await readBody(from, backend.bodyLimits);
  const { model, version } = params;
  const metadata = await backend.metadata.get(model!, version);
  const { id, request } = parseGenerateRequest(body, metadata, version);
  applyHeaders(from, request);
  const response = await predict(backend, request, { signal: hangUpSignal(from, to), of: from });
  return printGenerateResponse(response, id);
}
