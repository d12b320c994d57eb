/**
 * Reads a request body whole, whatever its Content-Type: clients of the inference protocols often send none.
 *
 * Bounded three ways: in bytes as sent, in bytes after inflation (gzip and deflate bodies are accepted), and in
 * time. A body that is too large is refused as soon as that is known, from its Content-Length when it has one;
 * what the client still sends is then discarded, never kept.
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
const gunzipAsync = promisify<InputType, ZlibOptions, Buffer>(gunzip);
const inflateAsync = promisify<InputType, ZlibOptions, Buffer>(inflate);
const inflateRawAsync = promisify<InputType, ZlibOptions, Buffer>(inflateRaw);

/**
 * The body's bytes, inflated.
 * @throws {PayloadTooLargeError} {SlowBodyError} {UnsupportedEncodingError} {MalformedBodyError}
 * @throws {CancelledError} when the client hangs up before the body is complete
 */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined) return collect(request, limits);
  const name = encoding.trim().toLowerCase();
  if (!ACCEPTED_ENCODINGS.includes(name)) throw new UnsupportedEncodingError(name, ACCEPTED_ENCODINGS);
  const body = await collect(request, limits);
  return name === "identity" ? body : decompress(body, name, limits.maxBytes);
}

function collect(request: IncomingMessage, { maxBytes, timeoutMs }: BodyLimits): Promise<Buffer> {
  const declaredBytes = Number(request.headers["content-length"] ?? 0);
  if (declaredBytes > maxBytes) return Promise.reject(new PayloadTooLargeError(declaredBytes, maxBytes));
  return new Promise((resolve, reject) => {
    let first: Buffer | undefined;
    let chunks: Buffer[] | undefined;
    let receivedBytes = 0;
    const timer = setTimeout(() => fail(new SlowBodyError(receivedBytes, timeoutMs)), timeoutMs);
    const fail = (error: Error): void => {
      stop();
      first = chunks = undefined;
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      receivedBytes += chunk.length;
      if (receivedBytes > maxBytes) fail(new PayloadTooLargeError(receivedBytes, maxBytes));
      else if (first === undefined) first = chunk;
      else if (chunks === undefined) chunks = [first, chunk];
      else chunks.push(chunk);
    };
    const onEnd = (): void => {
      stop();
      resolve(chunks === undefined ? (first ?? EMPTY) : Buffer.concat(chunks, receivedBytes));
    };
    const onClose = (): void => fail(new CancelledError("Request whose body is incomplete"));
    const stop = (): void => {
      clearTimeout(timer);
      request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
    };
    request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
  });
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
