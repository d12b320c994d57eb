/**
 * Predictions in this process: least recently used out first, bounded by bytes. An entry lives `ttlMs` from when it
 * was written, however often it is read. It keeps arrays of its own, so a small answer does not hold the whole
 * batch's buffer; what it hands out is shared by all readers and must not be changed or transferred.
 */

import type { NumericArray } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Clock } from "./clock.ts";

type Entry = { tensors: Tensor[]; bytes: number; expiresAt: number };

/** Key, map slot, objects: what an entry takes beyond its data, roughly. */
const ENTRY_BYTES = 256;
const TENSOR_BYTES = 256;

export class MemoryCache {
  readonly #entries = new Map<string, Entry>();
  readonly #maxBytes: number;
  readonly #ttlMs: number;
  readonly #clock: Clock;
  #bytes = 0;

  constructor(options: { maxBytes: number; ttlMs: number; clock: Clock }) {
    this.#maxBytes = options.maxBytes;
    this.#ttlMs = options.ttlMs;
    this.#clock = options.clock;
  }

  get cachedBytes(): number {
    return this.#bytes;
  }

  get(key: string): Tensor[] | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    if (entry.expiresAt <= this.#clock.now()) {
      this.#bytes -= entry.bytes;
      return undefined;
    }
    this.#entries.set(key, entry);
    return entry.tensors;
  }

  /** Copies `tensors`. What would not fit even alone is not kept. */
  put(key: string, tensors: readonly Tensor[], ttlMs = this.#ttlMs): void {
    const bytes = tensors.reduce((sum, { data }) => sum + TENSOR_BYTES + dataBytes(data), ENTRY_BYTES);
    if (bytes > this.#maxBytes) return;
    this.#drop(key);
    const owned = tensors.map((tensor) => ({
      ...tensor,
      shape: [...tensor.shape],
      data: (tensor.data as NumericArray).slice(),
    }));
    this.#entries.set(key, { tensors: owned, bytes, expiresAt: this.#clock.now() + ttlMs });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }
}

function dataBytes(data: Tensor["data"]): number {
  if (!Array.isArray(data)) return data.byteLength;
  return data.reduce((sum, text) => sum + 16 + text.length * 2, 0);
}
