/**
 * The life of an HTTP server: listens or says why not, and stops within a bounded time. Stopping takes no new
 * connections, lets requests in flight be answered, closes connections as they fall idle, and cuts what is left.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PayloadTooLargeError } from "../errors.ts";
import { listen } from "./port.ts";

export type RequestListener = (request: IncomingMessage, response: ServerResponse) => void;
export type RefuseListener = (request: IncomingMessage, response: ServerResponse, error: Error) => void;

export type HttpServerOptions = { host: string; port: number; maxBodyBytes: number };

/** Longer than the idle time-outs of common load balancers, which must be the first to close. */
const KEEP_ALIVE_MS = 75_000;
const HEADERS_TIMEOUT_MS = 15_000;
/** Longest wait for a whole request; bodies have a shorter deadline of their own. */
const REQUEST_TIMEOUT_MS = 120_000;
const IDLE_SWEEP_MS = 50;

export class HttpServer {
  readonly #server: Server;
  readonly #options: HttpServerOptions;

  /** @param refuse answers a request that is refused before its body is sent */
  constructor(options: HttpServerOptions, listener: RequestListener, refuse: RefuseListener) {
    this.#options = options;
    this.#server = createServer(
      {
        keepAliveTimeout: KEEP_ALIVE_MS,
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
      },
      listener,
    );
    // A client that asks first need not send a body that would be refused.
    this.#server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
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
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  /** @throws {PortInUseError} */
  start(): Promise<void> {
    return listen(this.#server, this.#options.host, this.#options.port, "MOIETY_HTTP_PORT");
  }

  /** Resolves when every connection is closed, after `timeoutMs` at the latest. */
  async stop(timeoutMs: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    const sweep = setInterval(() => this.#server.closeIdleConnections(), IDLE_SWEEP_MS);
    const cut = setTimeout(() => this.#server.closeAllConnections(), timeoutMs);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }
}
