/**
 * What Moiety keeps: immutable content-addressed artifacts and small mutable records with compare-and-set.
 * Two implementations, one contract suite (`test/contracts/store-contract.ts`): files, and NATS JetStream.
 */

/** A reference to stored bytes; small enough to travel in any message. */
export type ArtifactRef = { digest: string; size: number };

/** Content-addressed, immutable bytes. Digests read `sha256:<64 hex digits>`. */
export interface ArtifactStore {
  /** Stores bytes and gives their reference; storing the same bytes again is free. Durable once resolved. */
  put(bytes: Uint8Array): Promise<ArtifactRef>;
  /**
   * The bytes, verified against the digest.
   * @throws {ArtifactNotFoundError} {ArtifactCorruptError} {StoreUnavailableError}
   */
  get(digest: string): Promise<Uint8Array>;
  has(digest: string): Promise<boolean>;
  /** Removes an artifact; unknown digests are no error. */
  delete(digest: string): Promise<void>;
  /** Every stored reference, in no particular order. */
  list(): Promise<ArtifactRef[]>;
}

/** A record as read: its JSON value and the revision a later `update` must name. */
export type KeyValueEntry<T = unknown> = { key: string; value: T; revision: number };

/**
 * JSON records under path-like keys (segments of `[A-Za-z0-9_-]+` and dots, separated by "/"). Every write is
 * atomic, durable once resolved, and totally ordered per key.
 */
export interface KeyValueStore {
  get<T>(key: string): Promise<KeyValueEntry<T> | undefined>;
  /** Writes a key that must not exist. @throws {RevisionConflictError} when it does */
  create<T>(key: string, value: T): Promise<KeyValueEntry<T>>;
  /** Replaces a value that must still be at `revision`. @throws {RevisionConflictError} */
  update<T>(key: string, value: T, revision: number): Promise<KeyValueEntry<T>>;
  /** Removes a key; with `revision`, only if it is still there. @throws {RevisionConflictError} */
  delete(key: string, revision?: number): Promise<void>;
  /** Keys that begin with `prefix`, sorted. */
  keys(prefix: string): Promise<string[]>;
}

export interface Store {
  readonly artifacts: ArtifactStore;
  readonly records: KeyValueStore;
  /** Releases connections and timers. Calls after it are refused. */
  close(): Promise<void>;
}

/** How to open a store from any thread or process: plain data, so it can be posted to a worker. */
export type StoreLocation =
  | { kind: "files"; directory: string }
  | { kind: "jetstream"; url: string; bucket: string };
