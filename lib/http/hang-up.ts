/**
 * Whether the client still waits for its answer. One signal per request: on one that outlives its requests, what they
 * hang on it and take off again would keep them until a full collection (see lib/serving/deadlines.ts).
 */

import type { IncomingMessage, ServerResponse } from "node:http";

/** Aborts when the connection closes before the answer is written whole. */
export function hangUpSignal(request: IncomingMessage, response: ServerResponse): AbortSignal {
  const { socket } = request;
  if (socket.destroyed) return AbortSignal.abort();
  const hangUp = new AbortController();
  const onClose = (): void => {
    if (!response.writableFinished) hangUp.abort();
  };
  response.once("close", onClose);
  // An answer behind others of its connection does not have it yet, and hears nothing of it.
  if (response.socket === null) {
    socket.once("close", onClose);
    response.once("close", () => socket.off("close", onClose));
  }
  return hangUp.signal;
}
