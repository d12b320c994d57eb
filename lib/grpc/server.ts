/**
 * The life of a gRPC server: listens or says why not, and stops within a bounded time. Stopping begins with a
 * moment in which everything is answered as ever, so that clients can hear of it and go elsewhere; then no new connections
 * are taken and no new calls on those there are, calls in flight are answered, and what is left in the end is cut.
 * Messages larger than the limit are refused with RESOURCE_EXHAUSTED, as sent and after decompression; a request that is
 * not complete in time with DEADLINE_EXCEEDED.
 */

import { setTimeout as delay } from "node:timers/promises";
import {
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { DeadlineExceededError, errorMessage, PortInUseError } from "../errors.ts";
import type { TlsMaterial } from "../http/tls-files.ts";
import { grpcStatus } from "./status.ts";
import { TlsCredentials } from "./tls-credentials.ts";

export type GrpcServerOptions = {
  host: string;
  port: number;
  maxMessageBytes: number;
  /** Longest wait for the whole request of a call that has one; streams may be silent. */
  requestTimeoutMs: number;
  /** See every call, and all of it, before the server's own do. @default none */
  interceptors?: readonly ServerInterceptor[];
  /** How TLS is spoken; what with, `useTls` says. @default not at all */
  tls?: { clientCertificates: boolean } | undefined;
};

export type GrpcMethods = { definition: ServiceDefinition; implementation: UntypedServiceImplementation };

/** Calls on one connection at a time; further ones wait at the client. */
const MAX_CONCURRENT_CALLS = 1024;
/** A client that has gone without a word is noticed after both. */
const KEEP_ALIVE_MS = 60_000;
const KEEP_ALIVE_TIMEOUT_MS = 20_000;
/** How long calls are answered as ever once the server is told to stop. */
const NOTICE_MS = 500;

export class GrpcServer {
  readonly #server: Server;
  readonly #options: GrpcServerOptions;
  readonly #credentials: TlsCredentials | undefined;
  #port: number | undefined;
  /** Whether anybody has called. */
  #called = false;

  constructor(options: GrpcServerOptions, services: readonly GrpcMethods[]) {
    this.#options = options;
    if (options.tls) this.#credentials = new TlsCredentials(options.tls.clientCertificates);
    const deadline = requestDeadline(options.requestTimeoutMs);
    const interceptor: ServerInterceptor = (method, call) => {
      this.#called = true;
      return method.requestStream ? new ServerInterceptingCall(call) : deadline(method, call);
    };
    this.#server = new Server({
      interceptors: [...(options.interceptors ?? []), interceptor],
      "grpc.max_receive_message_length": options.maxMessageBytes,
      // Answers are as large as the model makes them; clients have limits of their own.
      "grpc.max_send_message_length": -1,
      "grpc.max_concurrent_streams": MAX_CONCURRENT_CALLS,
      // Counts every call for a debugging service that is not offered here.
      "grpc.enable_channelz": 0,
      "grpc.keepalive_time_ms": KEEP_ALIVE_MS,
      "grpc.keepalive_timeout_ms": KEEP_ALIVE_TIMEOUT_MS,
    });
    for (const { definition, implementation } of services)
      this.#server.addService(definition, implementation);
  }

  /** Host and port, once listening. */
  get address(): string {
    return `${bracketed(this.#options.host)}:${this.#port ?? this.#options.port}`;
  }

  /** What a server with TLS proves itself with: before it starts, and whenever that changes; for new connections. */
  useTls(material: TlsMaterial): void {
    this.#credentials?.use(material);
  }

  /** @throws {PortInUseError} */
  async start(): Promise<void> {
    const { host, port } = this.#options;
    this.#port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(
        `${bracketed(host)}:${port}`,
        this.#credentials ?? ServerCredentials.createInsecure(),
        (error, bound) => {
          if (error === null) resolve(bound);
          else
            reject(
              errorMessage(error).includes("EADDRINUSE")
                ? new PortInUseError(host, port, "MOIETY_GRPC_PORT")
                : error,
            );
        },
      );
    });
  }

  /**
   * Resolves when every call is answered and every connection closed, after `timeoutMs` at the latest.
   * @param endStreams called when clients have had time to hear of it: calls that would not end by themselves must end
   */
  async stop(timeoutMs: number, endStreams: () => void): Promise<void> {
    if (this.#called) await delay(Math.min(NOTICE_MS, timeoutMs));
    endStreams();
    await new Promise<void>((resolve) => {
      const cut = setTimeout(() => {
        this.#server.forceShutdown();
        // A connection that never came as far as a session is left to its time-out.
        resolve();
      }, timeoutMs);
      this.#server.tryShutdown(() => {
        clearTimeout(cut);
        resolve();
      });
    });
  }
}

/**
 * Ends calls with one request that is not there in time. Whatever else ends a call before its request has come (a message
 * that is refused, the client going away) is heard as a cancellation.
 */
function requestDeadline(timeoutMs: number): ServerInterceptor {
  return (_, call) => {
    let late: NodeJS.Timeout | undefined;
    const listener = new ServerListenerBuilder()
      // Not sooner: of a call that was reset before it began nothing is heard any more, its end neither.
      .withOnReceiveMetadata((metadata, next) => {
        late = setTimeout(
          () => call.sendStatus(grpcStatus(new DeadlineExceededError("Receiving the request", timeoutMs))),
          timeoutMs,
        );
        next(metadata);
      })
      .withOnReceiveHalfClose((next) => {
        clearTimeout(late);
        next();
      })
      .withOnCancel(() => clearTimeout(late))
      .build();
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
