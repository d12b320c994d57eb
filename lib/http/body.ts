/**
 * Reads a request body whole, whatever its Content-Type: clients of the inference protocols often send none.
 *
 * Bounded three ways: in bytes as sent, in bytes after inflation (gzip and deflate bodies are accepted), and in
 * time. A body that is too large is refused as soon as that is known, from its Content-Length when it has one;
 * what the client still sends is then discarded, never kept.
 *
 * Copies: none of a body that comes in one piece; of others each byte once, into the buffer that is given. Tensors in
 * that buffer can be read in place where `alignAt` says they begin. Inflating is one copy more.
 */

import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip, type InputType, inflate, inflateRaw, type ZlibOptions } from "node:zlib";
import {
  CancelledError,
  errorMessage,
  MalformedBodyError,
  PayloadTooLargeError,
  SlowBodyError,
  UnsupportedEncodingError,
} from "../errors.ts";

export type BodyLimits = { maxBytes: number; timeoutMs: number };

export const ACCEPTED_ENCODINGS = ["gzip", "deflate", "identity"];

const EMPTY = Buffer.alloc(0);
/** Of the largest element of a tensor. */
const ALIGNMENT_BYTES = 8;
/** A buffer is made for the declared length once this share of it is there: clients may promise, and send little. */
const PROMISE_SHARE = 1 / 16;
const gunzipAsync = promisify<InputType, ZlibOptions, Buffer>(gunzip);
const inflateAsync = promisify<InputType, ZlibOptions, Buffer>(inflate);
const inflateRawAsync = promisify<InputType, ZlibOptions, Buffer>(inflateRaw);

/**
 * The body's bytes, inflated.
 * @param alignAt where in a body of several pieces an address divisible by 8 is wanted
 * @throws {PayloadTooLargeError} {SlowBodyError} {UnsupportedEncodingError} {MalformedBodyError}
 * @throws {CancelledError} when the client hangs up before the body is complete
 */
export async function readBody(request: IncomingMessage, limits: BodyLimits, alignAt = 0): Promise<Buffer> {
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined) return collect(request, limits, alignAt);
  const name = encoding.trim().toLowerCase();
  if (!ACCEPTED_ENCODINGS.includes(name)) throw new UnsupportedEncodingError(name, ACCEPTED_ENCODINGS);
  const body = await collect(request, limits, 0);
  return name === "identity" ? body : decompress(body, name, limits.maxBytes);
}

function collect(
  request: IncomingMessage,
  { maxBytes, timeoutMs }: BodyLimits,
  alignAt: number,
): Promise<Buffer> {
  const declaredBytes = Number(request.headers["content-length"] ?? 0);
  if (declaredBytes > maxBytes) return Promise.reject(new PayloadTooLargeError(declaredBytes, maxBytes));
  return new Promise((resolve, reject) => {
    const body = new GatheredBody(declaredBytes, alignAt);
    const timer = setTimeout(() => fail(new SlowBodyError(body.receivedBytes, timeoutMs)), timeoutMs);
    const fail = (error: Error): void => {
      stop();
      body.clear();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      body.add(chunk);
      if (body.receivedBytes > maxBytes) fail(new PayloadTooLargeError(body.receivedBytes, maxBytes));
    };
    const onEnd = (): void => {
      stop();
      resolve(body.whole());
    };
    const onClose = (): void => fail(new CancelledError("Request whose body is incomplete"));
    const stop = (): void => {
      clearTimeout(timer);
      request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
    };
    request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
  });
}

/** Pieces of a body on their way to one buffer. */
class GatheredBody {
  receivedBytes = 0;
  readonly #declaredBytes: number;
  readonly #alignAt: number;
  #pieces: Buffer[] = [];
  /** Where pieces go at once, when it is there; `#pieces` is empty then. */
  #target: Buffer | undefined;

  /** @param declaredBytes 0 when unknown; never exceeded by what is added otherwise */
  constructor(declaredBytes: number, alignAt: number) {
    this.#declaredBytes = declaredBytes;
    this.#alignAt = alignAt;
  }

  add(piece: Buffer): void {
    if (this.#target) this.#target.set(piece, this.receivedBytes);
    else this.#pieces.push(piece);
    this.receivedBytes += piece.length;
    if (this.#declaredBytes === 0 || this.#pieces.length < 2) return;
    if (this.receivedBytes >= this.#declaredBytes * PROMISE_SHARE) this.#gather(this.#declaredBytes);
  }

  whole(): Buffer {
    if (this.#pieces.length > 1) this.#gather(this.receivedBytes);
    return this.#target ?? this.#pieces[0] ?? EMPTY;
  }

  clear(): void {
    this.#pieces = [];
    this.#target = undefined;
  }

  #gather(bytes: number): void {
    const padding = -this.#alignAt & (ALIGNMENT_BYTES - 1);
    const target = Buffer.allocUnsafeSlow(padding + bytes).subarray(padding);
    let at = 0;
    for (const piece of this.#pieces) {
      target.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [];
    this.#target = target;
  }
}

async function decompress(body: Buffer, encoding: string, maxBytes: number): Promise<Buffer> {
  const options = { maxOutputLength: maxBytes };
  try {
    if (encoding === "gzip") return await gunzipAsync(body, options);
    // "deflate" means zlib's format; some clients send raw deflate, whose first byte cannot be a zlib header.
    return await ((body[0] ?? 0x78) % 16 === 8
      ? inflateAsync(body, options)
      : inflateRawAsync(body, options));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE")
      throw new PayloadTooLargeError(maxBytes + 1, maxBytes);
    throw new MalformedBodyError(`not valid ${encoding}: ${errorMessage(error)}`);
  }
}
