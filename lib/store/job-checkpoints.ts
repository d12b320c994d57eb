/**
 * The stored checkpoints of jobs under way. The record `checkpoints/<job>` names every artifact before it is there
 * and until it is gone, so that whatever crashes in between, nothing stays behind: what a job's own record does not
 * refer to can always be found and removed.
 */

import { RevisionConflictError } from "../errors.ts";
import { digestOf } from "./digest.ts";
import type { ArtifactRef, Store } from "./store.ts";

const PREFIX = "checkpoints/";
/** A job has one writer, or two for the moment in which a lease changes hands. */
const MAX_ATTEMPTS = 100;

export class JobCheckpoints {
  readonly #store: Pick<Store, "artifacts" | "records">;

  constructor(store: Pick<Store, "artifacts" | "records">) {
    this.#store = store;
  }

  /** Stores a checkpoint of a job. Two jobs must not put the same bytes. @throws {StoreUnavailableError} */
  async put(jobId: string, bytes: Uint8Array): Promise<ArtifactRef> {
    const digest = await digestOf(bytes);
    await this.#change(jobId, (digests) => (digests.includes(digest) ? digests : [...digests, digest]));
    return this.#store.artifacts.put(bytes);
  }

  /** @throws {ArtifactNotFoundError} {ArtifactCorruptError} {StoreUnavailableError} */
  get(digest: string): Promise<Uint8Array> {
    return this.#store.artifacts.get(digest);
  }

  /** Removes checkpoints of a job. @throws {StoreUnavailableError} */
  async remove(jobId: string, digests: readonly string[]): Promise<void> {
    if (digests.length === 0) return;
    for (const digest of digests) await this.#store.artifacts.delete(digest);
    await this.#change(jobId, (known) => known.filter((digest) => !digests.includes(digest)));
  }

  /** Removes every checkpoint of a job but the given ones. @throws {StoreUnavailableError} */
  async keepOnly(jobId: string, digests: readonly string[]): Promise<void> {
    const entry = await this.#store.records.get<string[]>(PREFIX + jobId);
    await this.remove(jobId, entry?.value.filter((digest) => !digests.includes(digest)) ?? []);
  }

  /** Jobs that have checkpoints. */
  async jobIds(): Promise<string[]> {
    return (await this.#store.records.keys(PREFIX)).map((key) => key.slice(PREFIX.length));
  }

  async #change(jobId: string, change: (digests: string[]) => string[]): Promise<void> {
    const { records } = this.#store;
    const key = PREFIX + jobId;
    for (let attempt = 1; ; attempt++) {
      const entry = await records.get<string[]>(key);
      const next = change(entry?.value ?? []);
      try {
        if (!entry && next.length > 0) await records.create(key, next);
        else if (entry && next.length === 0) await records.delete(key, entry.revision);
        else if (entry && next !== entry.value) await records.update(key, next, entry.revision);
        return;
      } catch (error) {
        if (!(error instanceof RevisionConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }
}
