/**
 * Whether the client still waits. One signal per connection, made when it is first asked for and kept for all of the
 * connection's requests, which come one after another: a request on the hot path costs a look-up, and no listener of its
 * own on the socket. What a request hangs on the signal it takes off again when it has its answer.
 */

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

const SIGNALS = new WeakMap<Socket, AbortSignal>();

/** Aborts when the request's connection closes, whoever closes it. */
export function hangUpSignal({ socket }: IncomingMessage): AbortSignal {
  const known = SIGNALS.get(socket);
  if (known) return known;
  if (socket.destroyed) return AbortSignal.abort();
  const hangUp = new AbortController();
  socket.once("close", () => hangUp.abort());
  SIGNALS.set(socket, hangUp.signal);
  return hangUp.signal;
}
