/**
 * One gRPC client connection with one unary call at a time, for the load generator: HTTP/2 frames by hand, because a
 * ready-made client costs more processor time than the servers it asks. Header blocks are written once and then
 * referred to by index; those of answers are not read, so an answer counts when its stream has ended and it holds one
 * whole message, which the caller checks. Source: RFC 9113 (frames), RFC 7541 (header compression), gRPC over HTTP/2.
 */

import { connect, type Socket } from "node:net";
import type { Client, Listener } from "./transport.ts";

const FRAME_HEAD_BYTES = 9;
const MESSAGE_PREFIX_BYTES = 5;
const MAX_FRAME_BYTES = 16_384;
const FIRST_WINDOW_BYTES = 65_535;
const MAX_WINDOW_BYTES = 2 ** 31 - 1;
const REPLENISH_BYTES = 2 ** 30;
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME = {
  data: 0,
  headers: 1,
  resetStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
const FLAG = { endStream: 1, acknowledge: 1, endHeaders: 4, padded: 8 } as const;
const SETTING = { enablePush: 2, initialWindowSize: 4 } as const;

export class GrpcConnection implements Client {
  readonly #url: URL;
  readonly #listener: Listener;
  #socket: Socket | undefined;
  #received: Buffer | undefined;
  #stream = -1;
  #sendWindowBytes = FIRST_WINDOW_BYTES;
  #receivedBytes = 0;
  #message: Buffer[] = [];
  #ending = false;
  #waiting = false;

  /** @param url `grpc://host:port/package.Service/Method` */
  constructor(url: URL, listener: Listener) {
    this.#url = url;
    this.#listener = listener;
  }

  /** @param message as `grpcMessage` frames it */
  send(message: Buffer): void {
    if (this.#waiting) throw new Error("one request at a time");
    this.#waiting = true;
    const opened = this.#socket === undefined;
    this.#socket ??= this.#open();
    this.#stream += 2;
    this.#sendWindowBytes -= message.length;
    if (this.#sendWindowBytes < 0) {
      this.#broken("the server did not take data as fast as it was sent");
      return;
    }
    const headers = opened ? firstHeaders(this.#url) : REPEATED_HEADERS;
    this.#socket.write(
      Buffer.concat([
        frame(FRAME.headers, FLAG.endHeaders, this.#stream, headers),
        frame(FRAME.data, FLAG.endStream, this.#stream, message),
      ]),
    );
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
      if (socket === this.#socket) this.#broken("connection closed before the answer was complete");
    });
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(SETTING.enablePush, 0);
    settings.writeUInt16BE(SETTING.initialWindowSize, 6);
    settings.writeUInt32BE(MAX_WINDOW_BYTES, 8);
    socket.write(
      Buffer.concat([
        PREFACE,
        frame(FRAME.settings, 0, 0, settings),
        windowUpdate(MAX_WINDOW_BYTES - FIRST_WINDOW_BYTES),
      ]),
    );
    return socket;
  }

  #take(chunk: Buffer): void {
    let received = this.#received ? Buffer.concat([this.#received, chunk]) : chunk;
    let complete = false;
    while (received.length >= FRAME_HEAD_BYTES) {
      const end = FRAME_HEAD_BYTES + received.readUIntBE(0, 3);
      if (received.length < end) break;
      complete = this.#frame(received, received.subarray(FRAME_HEAD_BYTES, end)) || complete;
      if (!this.#socket) return;
      received = received.subarray(end);
    }
    this.#received = received.length > 0 ? received : undefined;
    if (complete) this.#answer();
  }

  /** @returns whether the stream in progress has ended with it */
  #frame(head: Buffer, payload: Buffer): boolean {
    const flags = head[4]!;
    switch (head[3]) {
      case FRAME.data: {
        const padding = flags & FLAG.padded ? payload[0]! + 1 : 0;
        this.#message.push(padding ? payload.subarray(1, payload.length - padding + 1) : payload);
        this.#receivedBytes += payload.length;
        if (this.#receivedBytes >= REPLENISH_BYTES) {
          this.#socket!.write(windowUpdate(this.#receivedBytes));
          this.#receivedBytes = 0;
        }
        return (flags & FLAG.endStream) !== 0;
      }
      case FRAME.headers:
        this.#ending = (flags & FLAG.endStream) !== 0;
        return this.#ending && (flags & FLAG.endHeaders) !== 0;
      case FRAME.continuation:
        return this.#ending && (flags & FLAG.endHeaders) !== 0;
      case FRAME.settings:
        if (!(flags & FLAG.acknowledge))
          this.#socket!.write(frame(FRAME.settings, FLAG.acknowledge, 0, Buffer.alloc(0)));
        return false;
      case FRAME.ping:
        if (!(flags & FLAG.acknowledge)) this.#socket!.write(frame(FRAME.ping, FLAG.acknowledge, 0, payload));
        return false;
      case FRAME.windowUpdate:
        if (head.readUInt32BE(5) === 0) this.#sendWindowBytes += payload.readUInt32BE(0);
        return false;
      case FRAME.resetStream:
        this.#broken(`the server reset the stream with code ${payload.readUInt32BE(0)}`);
        return false;
      case FRAME.goAway:
        this.#broken(`the server ended the connection with code ${payload.readUInt32BE(4)}`);
        return false;
      default:
        return false;
    }
  }

  #answer(): void {
    const received = this.#message.length === 1 ? this.#message[0]! : Buffer.concat(this.#message);
    this.#waiting = false;
    this.#message = [];
    this.#ending = false;
    const whole =
      received.length >= MESSAGE_PREFIX_BYTES &&
      received[0] === 0 &&
      received.readUInt32BE(1) === received.length - MESSAGE_PREFIX_BYTES;
    this.#listener.onAnswer(
      whole
        ? { status: 200, body: received.subarray(MESSAGE_PREFIX_BYTES) }
        : { status: 0, body: NO_MESSAGE },
    );
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
    this.#message = [];
    this.#ending = false;
    this.#stream = -1;
    this.#sendWindowBytes = FIRST_WINDOW_BYTES;
    this.#receivedBytes = 0;
    socket?.destroy();
  }
}

const NO_MESSAGE = Buffer.from("the call ended without one whole message");

/** A message as it goes over the wire, uncompressed. @throws {RangeError} for one that does not fit into a frame */
export function grpcMessage(message: Uint8Array): Buffer {
  if (message.length + MESSAGE_PREFIX_BYTES > MAX_FRAME_BYTES)
    throw new RangeError(`a message of ${message.length} bytes does not fit into one frame`);
  const prefix = Buffer.alloc(MESSAGE_PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frame(FRAME.windowUpdate, 0, 0, payload);
}

/** In the static table: `:method: POST`, `:scheme: http`. */
const METHOD_AND_SCHEME = [0x83, 0x86];
/** Names in the static table. */
const STATIC_NAME = { authority: 1, path: 4, contentType: 31 } as const;
const LITERAL_INDEXED = 0x40;
const INDEXED = 0x80;
const FIRST_DYNAMIC = 62;

/** Four headers go into the connection's table, the newest first. */
function firstHeaders(url: URL): Buffer {
  return Buffer.concat([
    Buffer.from(METHOD_AND_SCHEME),
    Buffer.from([LITERAL_INDEXED | STATIC_NAME.path]),
    text(url.pathname),
    Buffer.from([LITERAL_INDEXED | STATIC_NAME.authority]),
    text(url.host),
    Buffer.from([LITERAL_INDEXED | STATIC_NAME.contentType]),
    text("application/grpc"),
    Buffer.from([LITERAL_INDEXED]),
    text("te"),
    text("trailers"),
  ]);
}

const REPEATED_HEADERS = Buffer.from([
  ...METHOD_AND_SCHEME,
  ...[3, 2, 1, 0].map((age) => INDEXED | (FIRST_DYNAMIC + age)),
]);

function text(value: string): Buffer {
  if (value.length > 126) throw new RangeError(`a header of ${value.length} characters; at most 126`);
  return Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
}
