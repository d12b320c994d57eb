/**
 * Writes answers: as they are, or compressed as they leave where the client asks for it and it pays. An answer that
 * is given before the client has sent its whole body lingers: the client gets it complete at once, and what it still
 * sends is discarded for a bounded time before the connection closes. Closing at once would reset the connection, and
 * the client would see that instead of the answer.
 *
 * The parts of a large body are not copied: they leave in one vectored write.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline, Readable } from "node:stream";
import { type AnswerEncoding, chosenEncoding, compressor, MIN_COMPRESSED_BYTES } from "./compression.ts";
import type { ReplyBody } from "./exchange.ts";

export const JSON_TYPE = "application/json";

/**
 * Up to here the parts are joined into one text of bytes, which Node sends together with the head in one piece: 5%
 * more requests a second than parts of their own.
 */
const JOINED_BYTES = 16 * 1024;

/** Longest time that the rest of a refused body is discarded. */
const LINGER_MS = 5_000;

/** Sends a complete answer; does nothing when the client is gone or already has one. */
export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  body: ReplyBody,
  contentType = JSON_TYPE,
  headers?: Readonly<Record<string, string>>,
): void {
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  response.setHeader("Content-Type", contentType);
  for (const name in headers) response.setHeader(name, headers[name]!);
  const bytes = byteLength(body);
  const early = !request.complete && hasBody(request);
  if (bytes >= MIN_COMPRESSED_BYTES && !early && request.method !== "HEAD") {
    const encoding = chosenEncoding(request.headers["accept-encoding"]);
    if (encoding) {
      sendCompressed(response, body, encoding);
      return;
    }
  }
  response.setHeader("Content-Length", bytes);
  if (early) linger(request, response, body);
  else if (typeof body === "string") response.end(body);
  else if (bytes <= JOINED_BYTES) response.end(Buffer.concat(body, bytes).toString("latin1"), "latin1");
  else {
    writeParts(response, body);
    response.end();
  }
}

function byteLength(body: ReplyBody): number {
  if (typeof body === "string") return Buffer.byteLength(body);
  let bytes = 0;
  for (const part of body) bytes += part.byteLength;
  return bytes;
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** In one write to the socket, or as few as it takes. */
function writeParts(response: ServerResponse, parts: readonly Uint8Array[]): void {
  response.cork();
  for (const part of parts) response.write(part);
  response.uncork();
}

function sendCompressed(response: ServerResponse, body: ReplyBody, encoding: AnswerEncoding): void {
  response.setHeader("Content-Encoding", encoding);
  response.setHeader("Vary", "Accept-Encoding");
  const parts = typeof body === "string" ? [Buffer.from(body)] : body;
  // The only error there can be is a client that has gone, and then there is nobody to tell.
  pipeline(Readable.from(parts), compressor(encoding), response, () => {});
}

function linger(request: IncomingMessage, response: ServerResponse, body: ReplyBody): void {
  response.setHeader("Connection", "close");
  if (typeof body === "string") response.write(body);
  else writeParts(response, body);
  const finish = (): void => {
    clearTimeout(timer);
    request.off("end", finish).off("close", finish);
    response.end();
  };
  const timer = setTimeout(finish, LINGER_MS);
  request.once("end", finish).once("close", finish);
  request.resume();
}
