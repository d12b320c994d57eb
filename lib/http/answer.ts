/**
 * Writes answers. An answer that is given before the client has sent its whole body lingers: the client gets it
 * complete at once, and what it still sends is discarded for a bounded time before the connection closes. Closing
 * at once would reset the connection, and the client would see that instead of the answer.
 */

import type { IncomingMessage, ServerResponse } from "node:http";

export const JSON_TYPE = "application/json";

/** Longest time that the rest of a refused body is discarded. */
const LINGER_MS = 5_000;

/** Sends a complete answer; does nothing when the client is gone or already has one. */
export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body: string,
  contentType = JSON_TYPE,
  headers?: Readonly<Record<string, string>>,
): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  response.setHeader("Content-Type", contentType);
  response.setHeader("Content-Length", Buffer.byteLength(body));
  for (const name in headers) response.setHeader(name, headers[name]!);
  if (request.complete || !hasBody(request)) response.end(body);
  else linger(request, response, body);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function linger(request: IncomingMessage, response: ServerResponse, body: string): void {
  response.setHeader("Connection", "close");
  response.write(body);
  const finish = (): void => {
    clearTimeout(timer);
    request.off("end", finish).off("close", finish);
    response.end();
  };
  const timer = setTimeout(finish, LINGER_MS);
  request.once("end", finish).once("close", finish);
  request.resume();
}
