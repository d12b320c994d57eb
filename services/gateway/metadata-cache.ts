/**
 * What each model takes and gives, remembered so that `POST /predict` does not ask the inference service twice.
 * Entries fall when the model changes (its events say so), and with age, because an event can be missed.
 */

import type { ModelMetadata } from "../../lib/protocol/inference.ts";

type Fetch = (model: string, version: string | undefined) => Promise<ModelMetadata>;
type Entry = { model: string; metadata: ModelMetadata | Promise<ModelMetadata>; expiresAt: number };

const TTL_MS = 30_000;
const MAX_ENTRIES = 1_000;

export class MetadataCache {
  readonly #fetch: Fetch;
  readonly #entries = new Map<string, Entry>();

  constructor(fetch: Fetch) {
    this.#fetch = fetch;
  }

  /** Concurrent callers share one request; failures are not remembered. */
  get(model: string, version?: string): ModelMetadata | Promise<ModelMetadata> {
    const key = version === undefined ? model : `${model}\n${version}`;
    const known = this.#entries.get(key);
    if (known && known.expiresAt > performance.now()) return known.metadata;
    return this.#load(key, model, version);
  }

  /** Forgets a model, all versions. */
  forget(model: string): void {
    for (const [key, entry] of this.#entries) if (entry.model === model) this.#entries.delete(key);
  }

  #load(key: string, model: string, version: string | undefined): Promise<ModelMetadata> {
    const metadata = this.#fetch(model, version);
    const entry: Entry = { model, metadata, expiresAt: performance.now() + TTL_MS };
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear();
    this.#entries.set(key, entry);
    metadata.then(
      (value) => {
        entry.metadata = value;
      },
      () => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
      },
    );
    return metadata;
  }
}
