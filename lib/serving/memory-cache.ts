/**
 * Predictions in this process: least recently used out first, bounded by bytes in all and by bytes of each owner that
 * has a bound of its own. An entry lives `ttlMs` from when it was written, however often it is read. It holds no buffer of
 * which it keeps a part only, such as a whole batch's; what it hands out is shared by all readers and must not be changed
 * or transferred.
 */

import type { NumericArray } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Clock } from "./clock.ts";

export type PutOptions = {
  /** @default the cache's own */
  ttlMs?: number | undefined;
  /** Whose entry it is: a model. @default nobody's in particular */
  owner?: string | undefined;
  /** Most bytes of all of the owner's entries, from now on. @default what all share */
  ownerMaxBytes?: number | undefined;
};

type Entry = { tensors: Tensor[]; bytes: number; expiresAt: number; owner: Owner };
/** Its keys are in the order of use, as the cache's own. */
type Owner = { name: string; keys: Set<string>; bytes: number };

/** Key, map slot, objects: what an entry takes beyond its data, roughly. */
const ENTRY_BYTES = 256;
const TENSOR_BYTES = 256;

export class MemoryCache {
  readonly #entries = new Map<string, Entry>();
  readonly #owners = new Map<string, Owner>();
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

  /** Bytes of an owner's entries. */
  bytesOf(owner: string): number {
    return this.#owners.get(owner)?.bytes ?? 0;
  }

  get(key: string): Tensor[] | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    if (entry.expiresAt <= this.#clock.now()) {
      this.#drop(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.owner.keys.delete(key);
    entry.owner.keys.add(key);
    return entry.tensors;
  }

  /** Keeps `tensors`, which must not change any more. What would not fit even alone is not kept. */
  put(key: string, tensors: readonly Tensor[], options: PutOptions = {}): void {
    const { ttlMs = this.#ttlMs, ownerMaxBytes = this.#maxBytes } = options;
    const bytes = tensors.reduce((sum, { data }) => sum + TENSOR_BYTES + dataBytes(data), ENTRY_BYTES);
    this.#drop(key);
    const owner = this.#ownerOf(options.owner ?? "");
    if (bytes <= this.#maxBytes && bytes <= ownerMaxBytes) {
      const owned = tensors.map((tensor) => ({
        ...tensor,
        shape: [...tensor.shape],
        data: ownData(tensor.data),
      }));
      this.#entries.set(key, { tensors: owned, bytes, expiresAt: this.#clock.now() + ttlMs, owner });
      owner.keys.add(key);
      owner.bytes += bytes;
      this.#bytes += bytes;
    }
    for (const oldest of owner.keys) {
      if (owner.bytes <= ownerMaxBytes) break;
      this.#drop(oldest);
    }
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#drop(oldest);
    }
  }

  #ownerOf(name: string): Owner {
    let owner = this.#owners.get(name);
    if (!owner) {
      owner = { name, keys: new Set(), bytes: 0 };
      this.#owners.set(name, owner);
    }
    return owner;
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    const { owner, bytes } = entry;
    this.#entries.delete(key);
    this.#bytes -= bytes;
    owner.keys.delete(key);
    owner.bytes -= bytes;
    if (owner.keys.size === 0) this.#owners.delete(owner.name);
  }
}

/** The same array where it is all of its buffer; else a copy of the part. */
function ownData(data: Tensor["data"]): Tensor["data"] {
  if (!Array.isArray(data) && data.byteLength === data.buffer.byteLength) return data;
  return (data as NumericArray).slice();
}

function dataBytes(data: Tensor["data"]): number {
  if (!Array.isArray(data)) return data.byteLength;
  return data.reduce((sum, text) => sum + 16 + text.length * 2, 0);
}
