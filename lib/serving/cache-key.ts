/**
 * The content key of a prediction: sha256 over everything that decides the answer. Every part is preceded by its
 * length, so no two different requests have the same bytes ("ab","c" and "a","bc"; INT32 [2,3] and [3,2]; UINT8 and
 * INT8 of equal bits). Bytes are hashed as they lie in memory: little-endian on every platform Node supports in
 * practice. The model file's digest is part of it: a registry that was emptied and refilled hands out "version 1"
 * again.
 */

import { createHash, hash } from "node:crypto";
import type { Tensor } from "../tensor/tensor.ts";

export type KeyedRequest = {
  model: string;
  version: string;
  /** Of the model file. */
  digest: string;
  /** In the model's order. */
  inputs: readonly Tensor[];
  /** As asked; undefined: all. */
  outputs: readonly string[] | undefined;
};

/** Framing version: change it when the framing or the meaning of an answer changes. */
const FORMAT = "moiety-prediction-1";
/** Up to here a copy into one buffer and one call is faster than a hash object fed in pieces. */
const ONE_SHOT_BYTES = 256 * 1024;

/** 43 characters of base64url. */
export function cacheKey({ model, version, digest, inputs, outputs }: KeyedRequest): string {
  const frames = new Frames();
  frames.text(FORMAT);
  frames.text(model);
  frames.text(version);
  frames.text(digest);
  frames.number(outputs ? outputs.length : -1);
  for (const name of outputs ?? []) frames.text(name);
  frames.number(inputs.length);
  for (const { name, datatype, shape, data } of inputs) {
    frames.text(name);
    frames.text(datatype);
    frames.number(shape.length);
    for (const size of shape) frames.number(size);
    if (Array.isArray(data)) {
      frames.number(data.length);
      for (const text of data) frames.text(text);
    } else frames.bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return frames.digest();
}

class Frames {
  readonly #parts: Uint8Array[] = [];
  #byteLength = 0;
  #small = new DataView(new ArrayBuffer(512));
  #used = 0;

  number(value: number): void {
    if (this.#used + 8 > this.#small.byteLength) this.#flush();
    this.#small.setFloat64(this.#used, value, true);
    this.#used += 8;
  }

  /** As UTF-16: UTF-8 would turn every lone surrogate into the same replacement character. */
  text(value: string): void {
    const length = value.length * 2;
    this.number(length);
    if (length > 256) {
      this.#add(Buffer.from(value, "utf16le"));
      return;
    }
    if (this.#used + length > this.#small.byteLength) this.#flush();
    for (let i = 0; i < value.length; i++) {
      this.#small.setUint16(this.#used, value.charCodeAt(i), true);
      this.#used += 2;
    }
  }

  bytes(value: Uint8Array): void {
    this.number(value.byteLength);
    this.#add(value);
  }

  digest(): string {
    this.#flush();
    if (this.#byteLength <= ONE_SHOT_BYTES)
      return hash("sha256", Buffer.concat(this.#parts, this.#byteLength), "base64url");
    const sha256 = createHash("sha256");
    for (const part of this.#parts) sha256.update(part);
    return sha256.digest("base64url");
  }

  #add(part: Uint8Array): void {
    this.#flush();
    this.#parts.push(part);
    this.#byteLength += part.byteLength;
  }

  #flush(): void {
    if (this.#used === 0) return;
    this.#parts.push(new Uint8Array(this.#small.buffer, 0, this.#used));
    this.#byteLength += this.#used;
    this.#small = new DataView(new ArrayBuffer(512));
    this.#used = 0;
  }
}
