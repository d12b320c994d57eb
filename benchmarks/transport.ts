/** How the load generator speaks to a server: HTTP/1.1 or, for `grpc://` addresses, gRPC; one request at a time. */

import { type Answer, Connection, postRequest } from "./connection.ts";
import { GrpcConnection, grpcMessage } from "./grpc-connection.ts";

/** After one of the two, and only then, the next request may be sent. */
export type Listener = { onAnswer: (answer: Answer) => void; onBroken: (reason: string) => void };

export interface Client {
  /** @throws {Error} while another request waits for its answer */
  send(request: Buffer): void;
  close(): void;
}

export type Transport = {
  /** What is sent for a body, made once for many requests. */
  request(body: Uint8Array): Buffer;
  open(listener: Listener): Client;
};

const GRPC = "grpc:";

export function transportTo(address: string, headers: Readonly<Record<string, string>>): Transport {
  const url = new URL(address);
  if (url.protocol === GRPC)
    return { request: grpcMessage, open: (listener) => new GrpcConnection(url, listener) };
  return {
    request: (body) => postRequest(url, headers, body),
    open: (listener) => new Connection(url, listener),
  };
}
