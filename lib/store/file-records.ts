/**
 * Records as files, with compare-and-set that holds across threads and processes and needs no lock.
 *
 * A key is a folder of `<revision>.json` files. It is created by renaming a prepared folder into place, which fails
 * where one is. A new revision is written and fsynced under a temporary name, then link()ed to
 * `<revision + 1>.json`: of any number of writers one link succeeds, the others find the name taken. Readers take the
 * highest number. A crash at any point leaves the old value or the new one. Deleting is a revision too (a
 * tombstone), so that a writer who still holds an old revision loses; a mark beside the folder, set first, tells
 * listings which keys they have to look into.
 *
 * Superseded files are removed, all but the one before the newest. That frees names, so a writer that slept since it
 * looked could link a number that others have long passed: each file therefore carries the ids of the revisions
 * before it, and a writer who finds newer files beside its own checks that they descend from it.
 */

import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
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
import {
  BURIAL_MARK,
  type Change,
  encodeRevision,
  folderName,
  isLive,
  KEY_MARK,
  newId,
  parseRevision,
  type Revision,
  segmentName,
  TOMBSTONE,
} from "./revision-file.ts";
import type { KeyValueEntry, KeyValueStore } from "./store.ts";

const REVISION_FILE = /^(\d{1,15})\.json$/;
/** How many writes may follow one before its writer looks. */
const MAX_ANCESTORS = 32;
/** A reader is overtaken only by two writes during one read; this many times in a row means a broken disk. */
const MAX_ATTEMPTS = 1000;

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
        const revision = current
          ? await this.#publish(key, directory, current, change, 0)
          : await this.#establish(directory, change);
        if (revision !== undefined) return { key, value, revision };
      }
      throw new StoreUnavailableError(directory, "the folder keeps coming and going");
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
      const directory = this.#directoryOf(key);
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const current = await this.#current(directory);
        const gone = !current || current.deleted;
        if (revision === undefined && gone) return;
        if (gone || (revision !== undefined && revision !== current.revision))
          throw new RevisionConflictError(key, revision ?? 0);
        if (await this.#bury(key, directory, current)) return;
        if (revision !== undefined) throw new RevisionConflictError(key, revision);
      }
      throw new StoreUnavailableError(directory, "the record keeps changing");
    });
  }

  keys(prefix: string): Promise<string[]> {
    return this.#guarded(async () => {
      const { whole, partial } = splitPrefix(prefix);
      const found: string[] = [];
      for await (const { key, directory, marks } of this.#walk(whole, partial))
        if (marks.length === 0 || isLive(await this.#current(directory))) found.push(key);
      return found.sort();
    });
  }

  /** Removes what crashed writers left behind, and the tombstones of keys deleted more than `ageMs` ago. */
  sweep(ageMs: number): Promise<void> {
    return this.#guarded(async () => {
      const isOld = async (path: string) => Date.now() - (await stat(path)).mtimeMs > ageMs;
      await removeOlderThan(this.#temporary, ageMs);
      for await (const { directory, marks } of this.#walk([], "")) {
        if (marks.length === 0) continue;
        const current = await this.#current(directory);
        if (current?.deleted) {
          if (!(await isOld(directory))) continue;
          for (const revision of await revisionsIn(directory))
            if (revision <= current.revision) await remove(join(directory, `${revision}.json`));
        }
        if (!isLive(current)) await removeEmpty(directory);
        for (const mark of marks) if (await isOld(mark)) await remove(mark);
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

  /** Makes the folder of a key with its first revision in it; undefined when there is one already. */
  async #establish(directory: string, change: Change): Promise<number | undefined> {
    const prepared = join(this.#temporary, randomUUID());
    await mkdir(prepared);
    try {
      await rename(
        await writeTemporary(prepared, encodeRevision(1, newId(), [], change)),
        join(prepared, "1.json"),
      );
      await syncDirectory(prepared);
      await makeDirectory(dirname(directory));
      await rename(prepared, directory);
    } catch (error) {
      await rm(prepared, { recursive: true, force: true });
      if (failureCode(error) === "ENOTEMPTY" || failureCode(error) === "EEXIST") return undefined;
      throw error;
    }
    await syncDirectory(dirname(directory));
    return 1;
  }

  /** Publishes a tombstone, marked before it is there. False when somebody else was first. */
  async #bury(key: string, directory: string, current: Revision): Promise<boolean> {
    const mark = `${directory}${BURIAL_MARK}${newId()}`;
    await writeFile(mark, "");
    await syncDirectory(dirname(directory));
    try {
      return (await this.#publish(key, directory, current, TOMBSTONE, current.revision)) !== undefined;
    } catch (error) {
      await remove(mark);
      if (error instanceof RevisionConflictError) return false;
      throw error;
    }
  }

  /**
   * Links the revision after `previous`. Gives its number, or undefined when the folder was swept meanwhile.
   * @throws {RevisionConflictError} when somebody else was first
   */
  async #publish(
    key: string,
    directory: string,
    previous: Revision,
    change: Change,
    expected: number,
  ): Promise<number | undefined> {
    const revision = previous.revision + 1;
    const id = newId();
    const ancestors = [previous.id, ...previous.ancestors].slice(0, MAX_ANCESTORS);
    const file = join(directory, `${revision}.json`);
    const temporary = await writeTemporary(this.#temporary, encodeRevision(revision, id, ancestors, change));
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
    if (!revisions.includes(previous.revision)) {
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

  async *#walk(
    whole: string[],
    partial: string,
  ): AsyncGenerator<{ key: string; directory: string; marks: string[] }> {
    const folder = join(this.#keys, ...whole.map(folderName));
    const names = await namesIn(folder);
    const marks = new Map<string, string[]>();
    for (const name of names) {
      if (!name.includes(BURIAL_MARK)) continue;
      const owner = name.slice(0, name.indexOf(BURIAL_MARK));
      marks.set(owner, [...(marks.get(owner) ?? []), join(folder, name)]);
    }
    for (const name of names) {
      const segment = segmentName(name);
      if (name.includes(BURIAL_MARK) || !segment.startsWith(partial)) continue;
      const key = [...whole, segment];
      if (name.endsWith(KEY_MARK))
        yield { key: key.join("/"), directory: join(folder, name), marks: marks.get(name) ?? [] };
      else yield* this.#walk(key, "");
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

async function removeEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (error) {
    const code = failureCode(error);
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOENT") throw error;
  }
}

async function revisionsIn(directory: string): Promise<number[]> {
  const names = await namesIn(directory);
  return names.flatMap((name) => REVISION_FILE.exec(name)?.slice(1).map(Number) ?? []);
}
