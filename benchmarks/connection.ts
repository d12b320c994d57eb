/**
 * One HTTP/1.1 client connection with one request at a time, for the load generator: as little work per response
 * as verification allows, and right for servers that close after every answer (a connection is then opened anew,
 * and opening counts as part of the request). Understands Content-Length, chunked bodies and bodies that end with
 * the connection; refuses anything else as a broken answer.
 */

import { connect, type Socket } from "node:net";
import type { Client, Listener } from "./transport.ts";

const HEAD_END = "\r\n\r\n";
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding: *chunked/i;
const CLOSE = /\r\nconnection: *close/i;
const KEEP_ALIVE = /\r\nconnection: *keep-alive/i;

export type Answer = { status: number; body: Buffer };
type Head = {
  status: number;
  bodyStart: number;
  length: number | undefined;
  chunked: boolean;
  keepAlive: boolean;
};

export class Connection implements Client {
  readonly #url: URL;
  readonly #listener: Listener;
  #socket: Socket | undefined;
  #received: Buffer | undefined;
  #head: Head | undefined;
  #waiting = false;

  constructor(url: URL, listener: Listener) {
    this.#url = url;
    this.#listener = listener;
  }

  send(request: Buffer): void {
    if (this.#waiting) throw new Error("one request at a time");
    this.#waiting = true;
    this.#socket ??= this.#open();
    this.#socket.write(request);
  }

  close(): void {
    this.#waiting = false;
    this.#drop();
  }

  #open(): Socket {
    const socket = connect({ host: this.#url.hostname, port: Number(this.#url.port), noDelay: true });
    socket.on("data", (chunk) => {
      if (socket === this.#socket) this.#take(chunk);
    });
    socket.on("error", (error) => {
      if (socket === this.#socket) this.#broken(error.message);
    });
    socket.on("close", () => {
      if (socket === this.#socket) this.#ended();
    });
    return socket;
  }

  #take(chunk: Buffer): void {
    const received = this.#received ? Buffer.concat([this.#received, chunk]) : chunk;
    this.#received = received;
    this.#head ??= readHead(received);
    const head = this.#head;
    if (!head) return;
    if (head.chunked) {
      const body = readChunks(received, head.bodyStart);
      if (body !== undefined) this.#answer(head, body);
    } else if (head.length !== undefined && received.length >= head.bodyStart + head.length)
      this.#answer(head, received.subarray(head.bodyStart, head.bodyStart + head.length));
  }

  #ended(): void {
    const [head, received] = [this.#head, this.#received];
    if (this.#waiting && head && received && !head.chunked && head.length === undefined)
      this.#answer({ ...head, keepAlive: false }, received.subarray(head.bodyStart));
    else if (this.#waiting) this.#broken("connection closed before the answer was complete");
    else this.#drop();
  }

  #answer({ status, keepAlive }: Head, body: Buffer): void {
    this.#waiting = false;
    this.#received = undefined;
    this.#head = undefined;
    if (!keepAlive) this.#drop();
    this.#listener.onAnswer({ status, body });
  }

  #broken(reason: string): void {
    const waited = this.#waiting;
    this.#waiting = false;
    this.#drop();
    if (waited) this.#listener.onBroken(reason);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#received = undefined;
    this.#head = undefined;
    socket?.destroy();
  }
}

/** A request as it goes over the wire, made once and sent many times. */
export function postRequest(url: URL, headers: Readonly<Record<string, string>>, body: Uint8Array): Buffer {
  const lines = [
    `POST ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `Content-Length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}${HEAD_END}`), body]);
}

function readHead(received: Buffer): Head | undefined {
  const end = received.indexOf(HEAD_END);
  if (end < 0) return undefined;
  const text = received.toString("latin1", 0, end);
  const length = CONTENT_LENGTH.exec(text)?.[1];
  return {
    status: Number(text.slice(9, 12)),
    bodyStart: end + HEAD_END.length,
    length: length === undefined ? undefined : Number(length),
    chunked: CHUNKED.test(text),
    keepAlive: text.startsWith("HTTP/1.1") ? !CLOSE.test(text) : KEEP_ALIVE.test(text),
  };
}

/** The body of a complete chunked answer, or undefined while chunks are missing. */
function readChunks(received: Buffer, start: number): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = start; ; ) {
    const lineEnd = received.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(received.toString("latin1", at, lineEnd), 16);
    const from = lineEnd + 2;
    if (received.length < from + size + 2) return undefined;
    if (size === 0) return Buffer.concat(parts);
    parts.push(received.subarray(from, from + size));
    at = from + size + 2;
  }
}
