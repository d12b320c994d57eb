/**
 * Records as files, with compare-and-set that holds across threads and processes and needs no lock.
 *
 * A key is a folder of `<revision>.json` files. A new revision is written and fsynced under a temporary name, then
 * link()ed to `<revision + 1>.json`: of any number of writers one link succeeds, the others find the name taken.
 * Readers take the highest number. A crash at any point leaves the old value or the new one. Deleting is a
 * revision too (a tombstone), so that a writer who still holds an old revision loses.
 *
 * Superseded files are removed, all but the one before the newest. That frees names, so a writer that slept since it
 * looked could link a number that others have long passed: each file therefore carries the ids of the revisions
 * before it, and a writer who finds newer files beside its own checks that they descend from it.
 */

import { randomBytes } from "node:crypto";
import { link, readFile, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { RevisionConflictError, StoreUnavailableError } from "../errors.ts";
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
import { encodeRecord, segmentsOf, splitPrefix } from "./record-key.ts";
import type { KeyValueEntry, KeyValueStore } from "./store.ts";

/** What one revision file holds. `ancestors` are the ids of the revisions before it, newest first. */
type Revision = { revision: number; id: string; ancestors: string[]; deleted: boolean; value: unknown };
type Change = { deleted: boolean; json: string };

const TOMBSTONE: Change = { deleted: true, json: "null" };

const REVISION_FILE = /^(\d{1,15})\.json$/;
const MAX_ANCESTORS = 32;
/** A reader is overtaken only by two writes during one read; this many times in a row means a broken disk. */
const MAX_ATTEMPTS = 1000;
/** Marks the folder of a key; the character occurs in no segment, so keys and folders of keys never meet. */
const KEY_MARK = "=";

export class FileKeyValueStore implements KeyValueStore {
  readonly #root: string;
  readonly #keys: string;
  readonly #temporary: string;
  #closed = false;

  private constructor(root: string) {
    this.#root = root;
    this.#keys = join(root, "keys");
    this.#temporary = join(root, "tmp");
  }

  /** @throws {StoreUnavailableError} when `root` cannot be made or written */
  static async open(root: string): Promise<FileKeyValueStore> {
    const store = new FileKeyValueStore(root);
    await guarded(root, async () => {
      await makeDirectory(store.#temporary);
      await makeDirectory(store.#keys);
      await probeWritable(store.#temporary);
    });
    return store;
  }

  get<T>(key: string): Promise<KeyValueEntry<T> | undefined> {
    return this.#guarded(async () => {
      const current = await this.#current(this.#directoryOf(key));
      if (!current || current.deleted) return undefined;
      return { key, value: current.value as T, revision: current.revision };
    });
  }

  create<T>(key: string, value: T): Promise<KeyValueEntry<T>> {
    return this.#guarded(async () => {
      const change = { deleted: false, json: encodeRecord(key, value) };
      const directory = this.#directoryOf(key);
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const current = await this.#current(directory);
        if (current && !current.deleted) throw new RevisionConflictError(key, 0);
        const revision = await this.#publish(key, directory, current, change, 0);
        if (revision !== undefined) return { key, value, revision };
      }
      throw new StoreUnavailableError(directory, "the folder keeps disappearing");
    });
  }

  update<T>(key: string, value: T, revision: number): Promise<KeyValueEntry<T>> {
    return this.#guarded(async () => {
      const change = { deleted: false, json: encodeRecord(key, value) };
      return { key, value, revision: await this.#replace(key, change, revision) };
    });
  }

  delete(key: string, revision?: number): Promise<void> {
    return this.#guarded(async () => {
      if (revision !== undefined) return void (await this.#replace(key, TOMBSTONE, revision));
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const current = await this.#current(this.#directoryOf(key));
        if (!current || current.deleted) return;
        try {
          return void (await this.#replace(key, TOMBSTONE, current.revision));
        } catch (error) {
          if (!(error instanceof RevisionConflictError)) throw error;
        }
      }
      throw new StoreUnavailableError(this.#directoryOf(key), "the record keeps changing");
    });
  }

  keys(prefix: string): Promise<string[]> {
    return this.#guarded(async () => {
      const { whole, partial } = splitPrefix(prefix);
      const found: string[] = [];
      for await (const { key, directory } of this.#walk(whole, partial)) {
        const current = await this.#current(directory);
        if (current && !current.deleted) found.push(key);
      }
      return found.sort();
    });
  }

  /** Removes what crashed writers left behind, and the tombstones of keys deleted more than `ageMs` ago. */
  sweep(ageMs: number): Promise<void> {
    return this.#guarded(async () => {
      await removeOlderThan(this.#temporary, ageMs);
      for await (const { directory } of this.#walk([], "")) {
        const current = await this.#current(directory);
        if (!current?.deleted) continue;
        const { mtimeMs } = await stat(directory);
        if (Date.now() - mtimeMs < ageMs) continue;
        for (const revision of await revisionsIn(directory))
          if (revision <= current.revision) await remove(join(directory, `${revision}.json`));
        await rmdir(directory).catch((error: unknown) => {
          if (failureCode(error) !== "ENOTEMPTY" && failureCode(error) !== "ENOENT") throw error;
        });
      }
    });
  }

  close(): void {
    this.#closed = true;
  }

  async #replace(key: string, change: Change, expected: number): Promise<number> {
    const directory = this.#directoryOf(key);
    const current = await this.#current(directory);
    if (!current || current.deleted || current.revision !== expected)
      throw new RevisionConflictError(key, expected);
    const revision = await this.#publish(key, directory, current, change, expected);
    if (revision === undefined) throw new RevisionConflictError(key, expected);
    return revision;
  }

  /**
   * Links the revision after `previous`. Gives its number, or undefined when the folder was swept meanwhile.
   * @throws {RevisionConflictError} when somebody else was first
   */
  async #publish(
    key: string,
    directory: string,
    previous: Revision | undefined,
    change: Change,
    expected: number,
  ): Promise<number | undefined> {
    const revision = (previous?.revision ?? 0) + 1;
    const id = randomBytes(6).toString("base64url");
    const ancestors = previous ? [previous.id, ...previous.ancestors].slice(0, MAX_ANCESTORS) : [];
    const head = JSON.stringify({ revision, id, ancestors, deleted: change.deleted });
    const file = join(directory, `${revision}.json`);
    if (!previous) await makeDirectory(directory);
    const temporary = await writeTemporary(this.#temporary, `${head.slice(0, -1)},"value":${change.json}}`);
    try {
      await link(temporary, file);
    } catch (error) {
      if (failureCode(error) === "EEXIST") throw new RevisionConflictError(key, expected);
      if (failureCode(error) === "ENOENT") return undefined;
      throw error;
    } finally {
      await remove(temporary);
    }
    await syncDirectory(directory);

    const revisions = await revisionsIn(directory);
    if (Math.max(...revisions) > revision) {
      const newest = await this.#current(directory);
      const ours = newest?.ancestors[newest.revision - revision - 1];
      if (ours === id) return revision;
      await remove(file);
      if (ours === undefined)
        throw new StoreUnavailableError(file, "so many writes followed that the fate of this one is unknown");
      throw new RevisionConflictError(key, expected);
    }
    if (previous && !revisions.includes(previous.revision)) {
      await remove(file);
      return undefined;
    }
    for (const old of revisions) if (old < revision - 1) await remove(join(directory, `${old}.json`));
    return revision;
  }

  /** The newest revision, tombstones included. */
  async #current(directory: string): Promise<Revision | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const revisions = await revisionsIn(directory);
      if (revisions.length === 0) return undefined;
      const file = join(directory, `${Math.max(...revisions)}.json`);
      try {
        return parseRevision(file, await readFile(file, "utf8"));
      } catch (error) {
        if (failureCode(error) !== "ENOENT") throw error;
      }
    }
    throw new StoreUnavailableError(directory, "its files keep disappearing");
  }

  async *#walk(whole: string[], partial: string): AsyncGenerator<{ key: string; directory: string }> {
    const folder = join(this.#keys, ...whole.map(folderName));
    for (const name of await namesIn(folder)) {
      const segment = segmentName(name);
      if (!segment.startsWith(partial)) continue;
      if (name.endsWith(KEY_MARK))
        yield { key: [...whole, segment].join("/"), directory: join(folder, name) };
      else yield* this.#walk([...whole, segment], "");
    }
  }

  #directoryOf(key: string): string {
    return join(this.#keys, ...segmentsOf(key).map(folderName)) + KEY_MARK;
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new StoreUnavailableError(this.#root, "it has been closed");
    return guarded(this.#root, work);
  }
}

async function revisionsIn(directory: string): Promise<number[]> {
  const names = await namesIn(directory);
  return names.flatMap((name) => REVISION_FILE.exec(name)?.slice(1).map(Number) ?? []);
}

function parseRevision(file: string, text: string): Revision {
  try {
    return JSON.parse(text) as Revision;
  } catch (error) {
    throw new StoreUnavailableError(file, "it holds no valid record", { cause: error });
  }
}

/** Capitals are spelt "+a": some file systems take "Model" and "model" for one name. */
function folderName(segment: string): string {
  return segment.replace(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`);
}

function segmentName(folder: string): string {
  const name = folder.endsWith(KEY_MARK) ? folder.slice(0, -KEY_MARK.length) : folder;
  return name.replace(/\+([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
