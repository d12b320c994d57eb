/**
 * The access log: one line of JSON for each HTTP request and gRPC call, once it is over. What only its handler knows
 * (the model that answered) is added on the way, by whatever object the handler has in hand.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { LineLog } from "./line-log.ts";

/** What is logged of one request. */
export type AccessEntry = {
  /** When it came, ISO 8601. */
  time: string;
  id: string;
  protocol: "http" | "grpc";
  /** HTTP only. */
  method?: string;
  /** The URL as it was asked for, without its query string; of gRPC the full name of the method. */
  path: string;
  /** HTTP's, 499 where the client left before the answer was whole; or gRPC's, by name. */
  status: number | string;
  /** Of HTTP with their heads, of gRPC the messages. */
  bytesIn: number;
  bytesOut: number;
  durationMs: number;
  remote: string;
  model?: string;
  version?: string;
  /** Whether the answer came from the prediction cache. */
  cached?: boolean;
};

/** What a prediction adds. */
export type Prediction = { model: string; version: string; cached: boolean };

const CLIENT_LEFT = 499;
const MAX_PATH_CHARACTERS = 2048;

export class AccessLog {
  readonly #lines: LineLog;
  /** By what the handlers of a request know it by. */
  readonly #predictions = new WeakMap<object, Prediction>();
  /** What has come and gone on each connection with the requests before. */
  readonly #counted = new WeakMap<Socket, { read: number; written: number }>();

  constructor(lines: LineLog) {
    this.#lines = lines;
  }

  /** Logs an HTTP request when its answer is over. @param id under which it is answered */
  watch(request: IncomingMessage, response: ServerResponse, id: string): void {
    const startedAt = performance.now();
    const time = new Date();
    const { socket, method = "" } = request;
    const path = pathOf(request.url ?? "");
    const remote = socket.remoteAddress ?? "";
    response.once("close", () => {
      const { bytesRead, bytesWritten } = socket;
      const before = this.#counted.get(socket);
      this.#counted.set(socket, { read: bytesRead, written: bytesWritten });
      this.write({
        time: time.toISOString(),
        id,
        protocol: "http",
        method,
        path,
        status: statusOf(response),
        bytesIn: bytesRead - (before?.read ?? 0),
        bytesOut: bytesWritten - (before?.written ?? 0),
        durationMs: rounded(performance.now() - startedAt),
        remote,
        ...this.predictionOf(request),
      });
    });
  }

  /** @param of what the request will be found by */
  predicted(of: object, { model, version, cached }: Prediction): void {
    this.#predictions.set(of, { model, version, cached });
  }

  predictionOf(of: object): Prediction | undefined {
    return this.#predictions.get(of);
  }

  write(entry: AccessEntry): void {
    this.#lines.write(JSON.stringify(entry));
  }
}

/** Milliseconds to the microsecond. */
export function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** A refusal counts as given, though it ends only when the client leaves (lib/http/answer.ts). */
function statusOf({ writableFinished, headersSent, statusCode }: ServerResponse): number {
  return writableFinished || (headersSent && statusCode >= 400) ? statusCode : CLIENT_LEFT;
}

function pathOf(url: string): string {
  const end = url.indexOf("?");
  return (end < 0 ? url : url.slice(0, end)).slice(0, MAX_PATH_CHARACTERS);
}
