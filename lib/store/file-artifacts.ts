/**
 * Artifacts as files: `<root>/sha256/ab/<hex>`, named by what they hold. A file is written and fsynced beside its
 * destination, then renamed, so a name never stands for half an artifact, after any crash. Reads verify the hash.
 * Any number of threads and processes may share the folder.
 */

import { readFile, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ArtifactCorruptError, ArtifactNotFoundError, StoreUnavailableError } from "../errors.ts";
import { digestOf, hexOf } from "./digest.ts";
import {
  failureCode,
  guarded,
  makeDirectory,
  namesIn,
  probeWritable,
  remove,
  removeOlderThan,
  syncDirectory,
  writeTemporary,
} from "./file-system.ts";
import type { ArtifactRef, ArtifactStore } from "./store.ts";

const HEX = /^[0-9a-f]{64}$/;

export class FileArtifactStore implements ArtifactStore {
  readonly #root: string;
  readonly #temporary: string;
  #closed = false;

  private constructor(root: string) {
    this.#root = root;
    this.#temporary = join(root, "tmp");
  }

  /** @throws {StoreUnavailableError} when `root` cannot be made or written */
  static async open(root: string): Promise<FileArtifactStore> {
    const store = new FileArtifactStore(root);
    await guarded(root, async () => {
      await makeDirectory(store.#temporary);
      await makeDirectory(join(root, "sha256"));
      await probeWritable(store.#temporary);
    });
    return store;
  }

  put(bytes: Uint8Array): Promise<ArtifactRef> {
    return this.#guarded(async () => {
      const digest = await digestOf(bytes);
      const size = bytes.byteLength;
      const file = this.#fileOf(digest);
      if ((await sizeOf(file)) === size) return { digest, size };
      const temporary = await writeTemporary(this.#temporary, bytes);
      try {
        await makeDirectory(dirname(file));
        await rename(temporary, file);
      } catch (error) {
        await remove(temporary);
        throw error;
      }
      await syncDirectory(dirname(file));
      return { digest, size };
    });
  }

  get(digest: string): Promise<Uint8Array> {
    return this.#guarded(async () => {
      const bytes = await readFile(this.#fileOf(digest)).catch((error: unknown) => {
        throw failureCode(error) === "ENOENT" ? new ArtifactNotFoundError(digest) : error;
      });
      const received = await digestOf(bytes);
      if (received !== digest) throw new ArtifactCorruptError(digest, received);
      return bytes;
    });
  }

  has(digest: string): Promise<boolean> {
    return this.#guarded(async () => (await sizeOf(this.#fileOf(digest))) !== undefined);
  }

  delete(digest: string): Promise<void> {
    return this.#guarded(async () => remove(this.#fileOf(digest)));
  }

  list(): Promise<ArtifactRef[]> {
    return this.#guarded(async () => {
      const references: ArtifactRef[] = [];
      for (const shard of await namesIn(join(this.#root, "sha256")))
        for (const hex of await namesIn(join(this.#root, "sha256", shard))) {
          const size = HEX.test(hex) ? await sizeOf(join(this.#root, "sha256", shard, hex)) : undefined;
          if (size !== undefined) references.push({ digest: `sha256:${hex}`, size });
        }
      return references;
    });
  }

  /** Removes what crashed writers left behind. */
  sweep(ageMs: number): Promise<void> {
    return this.#guarded(() => removeOlderThan(this.#temporary, ageMs));
  }

  close(): void {
    this.#closed = true;
  }

  #fileOf(digest: string): string {
    const hex = hexOf(digest);
    return join(this.#root, "sha256", hex.slice(0, 2), hex);
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new StoreUnavailableError(this.#root, "it has been closed");
    return guarded(this.#root, work);
  }
}

async function sizeOf(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (failureCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
