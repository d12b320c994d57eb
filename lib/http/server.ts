/**
 * The life of an HTTP or HTTPS server: listens or says why not, and stops within a bounded time. Stopping tells clients before
 * it acts: for a moment everything is answered as ever, but each answer says that its connection closes, so that whoever
 * is about to ask again goes elsewhere. Closing a connection that seems idle could meet a request on its way, and reset
 * it. Then no new connections are taken, what has been idle all that time is closed, requests in flight are answered,
 * and what is left in the end is cut.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer, Server as SecureServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import { PayloadTooLargeError } from "../errors.ts";
import { listen } from "./port.ts";
import type { TlsMaterial } from "./tls-files.ts";

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;
export type RefuseListener = (request: IncomingMessage, response: ServerResponse, error: Error) => void;

export type HttpServerOptions = {
  host: string;
  port: number;
  maxBodyBytes: number;
  /** How TLS is spoken; what with, `useTls` says. @default not at all */
  tls?: { clientCertificates: boolean } | undefined;
};

/** Longer than the idle time-outs of common load balancers, which must be the first to close. */
const KEEP_ALIVE_MS = 75_000;
const HEADERS_TIMEOUT_MS = 15_000;
const HANDSHAKE_TIMEOUT_MS = 15_000;
/** Longest wait for a whole request; bodies have a shorter deadline of their own. */
const REQUEST_TIMEOUT_MS = 120_000;
const IDLE_SWEEP_MS = 50;
/** How long clients are told before connections are refused and idle ones closed. */
const NOTICE_MS = 500;
/** A turn of the loop accepts one connection and reads from those before: so many without news, and none waits. */
const QUIET_TURNS = 4;
const MOST_TURNS = 4096;

export class HttpServer {
  readonly #server: Server | SecureServer;
  readonly #options: HttpServerOptions;
  /** Open connections, of TLS once it is agreed on, each with its newest answer. */
  readonly #connections = new Map<Socket, ServerResponse | undefined>();
  /** Connections on which TLS is not agreed on yet. */
  readonly #handshakes = new Set<Socket>();
  #stopping = false;
  /** Connections accepted and requests received so far. */
  #arrivals = 0;

  /** @param refuse answers a request that is refused before its body is sent */
  constructor(options: HttpServerOptions, listener: RequestListener, refuse: RefuseListener) {
    this.#options = options;
    const limits = {
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
    };
    const onRequest: RequestListener = (request, response) => {
      this.#noteAnswer(request, response);
      listener(request, response);
    };
    if (options.tls === undefined) {
      this.#server = createServer(limits, onRequest);
      this.#server.on("connection", (socket: Socket) => this.#noteConnection(socket));
    } else {
      const { clientCertificates: requestCert } = options.tls;
      this.#server = createSecureServer(
        { ...limits, requestCert, rejectUnauthorized: requestCert, handshakeTimeout: HANDSHAKE_TIMEOUT_MS },
        onRequest,
      );
      this.#server.on("connection", (socket: Socket) => this.#noteHandshake(socket));
      this.#server.on("secureConnection", (socket: Socket) => this.#noteConnection(socket));
    }
    // A client that asks first need not send a body that would be refused.
    this.#server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      this.#noteAnswer(request, response);
      const bytes = Number(request.headers["content-length"] ?? 0);
      if (bytes > options.maxBodyBytes)
        return refuse(request, response, new PayloadTooLargeError(bytes, options.maxBodyBytes));
      response.writeContinue();
      listener(request, response);
    });
  }

  /** Base URL, once listening. */
  get url(): string {
    const { address, port, family } = this.#server.address() as AddressInfo;
    return `http${this.#options.tls ? "s" : ""}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  /** What a server with TLS proves itself with: before it starts, and whenever that changes; for new connections. */
  useTls(material: TlsMaterial): void {
    if (this.#server instanceof SecureServer) this.#server.setSecureContext(material);
  }

  /** @throws {PortInUseError} */
  start(): Promise<void> {
    return listen(this.#server, this.#options.host, this.#options.port, "MOIETY_HTTP_PORT");
  }

  /** Resolves when every connection is closed, after `timeoutMs` at the latest. */
  async stop(timeoutMs: number): Promise<void> {
    if (!this.#server.listening || this.#stopping) return;
    this.#stopping = true;
    const cut = setTimeout(() => this.#cut(), timeoutMs);
    for (const response of this.#connections.values()) if (response) announceClose(response);
    if (this.#connections.size > 0) await delay(Math.min(NOTICE_MS, timeoutMs));
    await this.#quiet();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const sweep = setInterval(() => this.#server.closeIdleConnections(), IDLE_SWEEP_MS);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  /** Takes in what has come already: the kernel resets connections that nobody has accepted when listening ends. */
  async #quiet(): Promise<void> {
    let seen = this.#arrivals;
    for (let turn = 0, quiet = 0; quiet < QUIET_TURNS && turn < MOST_TURNS; turn++) {
      await nextTurn();
      quiet = this.#arrivals === seen ? quiet + 1 : 0;
      seen = this.#arrivals;
    }
  }

  #cut(): void {
    this.#server.closeAllConnections();
    for (const socket of this.#handshakes) socket.destroy();
  }

  #noteHandshake(socket: Socket): void {
    this.#arrivals++;
    this.#handshakes.add(socket);
    socket.once("close", () => this.#handshakes.delete(socket));
  }

  #noteConnection(socket: Socket): void {
    this.#arrivals++;
    this.#connections.set(socket, undefined);
    socket.once("close", () => this.#connections.delete(socket));
  }

  #noteAnswer({ socket }: IncomingMessage, response: ServerResponse): void {
    this.#arrivals++;
    this.#connections.set(socket, response);
    if (this.#stopping) announceClose(response);
  }
}

/** Makes it the last answer on its connection, unless its head has left. */
function announceClose(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader("Connection", "close");
}
