/**
 * Artifacts in a JetStream object store (NATS ADR-20), named by their digest: chunks under a fresh id first, then
 * one metadata message that makes them the object, so nobody sees half an artifact. Other NATS clients can read
 * them.
 *
 * Written here rather than with the client's object store because that one hashes in JavaScript on the event loop,
 * queues a whole artifact in memory without waiting for acknowledgements, and waits for missing chunks for ever.
 */

import { randomUUID } from "node:crypto";
import { consumerOpts, headers, type ObjectInfo, type ObjectStore } from "nats";
import { ArtifactCorruptError, ArtifactNotFoundError } from "../errors.ts";
import { digestOf, hexOf } from "./digest.ts";
import { type JetStreamLink, lostRace, TransientError } from "./jetstream-link.ts";
import type { ArtifactRef, ArtifactStore } from "./store.ts";

const CHUNK_BYTES = 128 * 1024;
/** Chunks sent and not yet acknowledged. */
const WINDOW = 32;
/** Longest wait for the next chunk. */
const CHUNK_TIMEOUT_MS = 5_000;

export class JetStreamArtifactStore implements ArtifactStore {
  readonly #link: JetStreamLink;
  readonly #objects: ObjectStore;
  readonly #bucket: string;
  /** One upload per digest at a time. */
  readonly #uploads = new Map<string, Promise<void>>();

  private constructor(link: JetStreamLink, objects: ObjectStore, bucket: string) {
    this.#link = link;
    this.#objects = objects;
    this.#bucket = bucket;
  }

  /** Makes the bucket unless it exists. */
  static async open(link: JetStreamLink, bucket: string): Promise<JetStreamArtifactStore> {
    const objects = await link.run(async () => {
      const store = await link.jetstream.views.os(bucket);
      await store.status();
      return store;
    });
    return new JetStreamArtifactStore(link, objects, bucket);
  }

  async put(bytes: Uint8Array): Promise<ArtifactRef> {
    const digest = await digestOf(bytes);
    const running = this.#uploads.get(digest) ?? this.#link.run(() => this.#upload(digest, bytes));
    this.#uploads.set(digest, running);
    try {
      await running;
    } finally {
      this.#uploads.delete(digest);
    }
    return { digest, size: bytes.byteLength };
  }

  async get(digest: string): Promise<Uint8Array> {
    hexOf(digest);
    const bytes = await this.#link.run(() => this.#download(digest));
    const received = await digestOf(bytes);
    if (received !== digest) throw new ArtifactCorruptError(digest, received);
    return bytes;
  }

  async has(digest: string): Promise<boolean> {
    hexOf(digest);
    return this.#link.run(async () => isLive(await this.#objects.info(digest)));
  }

  async delete(digest: string): Promise<void> {
    hexOf(digest);
    await this.#link.run(async () => {
      if (isLive(await this.#objects.info(digest))) await this.#objects.delete(digest);
    });
  }

  async list(): Promise<ArtifactRef[]> {
    const prefix = this.#metaSubject("");
    const names = await this.#link.run(async () => {
      const status = await this.#objects.status({ subjects_filter: `${prefix}>` });
      return Object.keys(status.streamInfo.state.subjects ?? {}).map((subject) =>
        Buffer.from(subject.slice(prefix.length), "base64url").toString(),
      );
    });
    const references: ArtifactRef[] = [];
    for (const name of names) {
      const info = await this.#link.run(() => this.#objects.info(name));
      if (isLive(info)) references.push({ digest: name, size: info.size });
    }
    return references;
  }

  async #upload(digest: string, bytes: Uint8Array): Promise<void> {
    const present = await this.#objects.info(digest);
    if (isLive(present) && present.size === bytes.byteLength) return;
    const id = randomUUID();
    const chunks = Math.ceil(bytes.byteLength / CHUNK_BYTES);
    try {
      await this.#publishChunks(this.#chunkSubject(id), bytes, chunks);
      const meta = {
        name: digest,
        description: "",
        options: { max_chunk_size: CHUNK_BYTES },
        bucket: this.#bucket,
        nuid: id,
        size: bytes.byteLength,
        chunks,
        mtime: new Date().toISOString(),
        digest: `SHA-256=${paddedBase64Url(Buffer.from(hexOf(digest), "hex"))}`,
        deleted: false,
      };
      const rollup = headers();
      rollup.set("Nats-Rollup", "sub");
      await this.#link.jetstream.publish(this.#metaSubject(digest), JSON.stringify(meta), {
        headers: rollup,
        expect: { lastSubjectSequence: present?.revision ?? 0 },
      });
    } catch (error) {
      await this.#purgeChunks(id);
      // Another node stored the same bytes at the same time; if it did not, this one tries again.
      if (lostRace(error)) throw new TransientError(`${digest} is being written by others`);
      throw error;
    }
    if (present) await this.#purgeChunks(present.nuid);
  }

  async #publishChunks(subject: string, bytes: Uint8Array, chunks: number): Promise<void> {
    const unacknowledged: Promise<unknown>[] = [];
    try {
      for (let n = 0; n < chunks; n++) {
        const chunk = bytes.subarray(n * CHUNK_BYTES, (n + 1) * CHUNK_BYTES);
        const acknowledged = this.#link.jetstream.publish(subject, chunk);
        // One that is refused before those sent earlier are acknowledged is heard of in its turn.
        acknowledged.catch(() => {});
        unacknowledged.push(acknowledged);
        if (unacknowledged.length >= WINDOW) await unacknowledged.shift();
      }
      await Promise.all(unacknowledged);
    } finally {
      await Promise.allSettled(unacknowledged);
    }
  }

  async #download(digest: string): Promise<Uint8Array> {
    const info = await this.#objects.info(digest);
    if (!isLive(info)) throw new ArtifactNotFoundError(digest);
    const bytes = new Uint8Array(info.size);
    let received = 0;
    for await (const chunk of this.#chunks(info)) {
      if (received + chunk.byteLength <= bytes.byteLength) bytes.set(chunk, received);
      received += chunk.byteLength;
    }
    if (received === info.size) return bytes;
    const now = await this.#objects.info(digest);
    if (now?.nuid !== info.nuid || now.deleted)
      throw new TransientError(`${digest} changed while it was read`);
    return bytes.subarray(0, received);
  }

  /** The chunks of an object in order; ends early, and never hangs, when some are missing. */
  async *#chunks({ nuid, chunks }: ObjectInfo): AsyncGenerator<Uint8Array> {
    if (chunks === 0 || !(await this.#hasChunks(nuid))) return;
    const options = consumerOpts();
    options.bindStream(`OBJ_${this.#bucket}`);
    options.orderedConsumer();
    const subscription = await this.#link.jetstream.subscribe(this.#chunkSubject(nuid), options);
    const timer = setTimeout(() => subscription.unsubscribe(), CHUNK_TIMEOUT_MS);
    try {
      let last = 0;
      for await (const message of subscription) {
        timer.refresh();
        yield message.data;
        if (++last === chunks || message.info.pending === 0) return;
      }
    } finally {
      clearTimeout(timer);
      subscription.unsubscribe();
    }
    throw new TransientError("the next chunk of an artifact did not come");
  }

  async #hasChunks(id: string): Promise<boolean> {
    const status = await this.#objects.status({ subjects_filter: this.#chunkSubject(id) });
    return Object.keys(status.streamInfo.state.subjects ?? {}).length > 0;
  }

  /** Leftovers cost space and nothing else, so a failure is not passed on. */
  async #purgeChunks(id: string): Promise<void> {
    await this.#link.manager.streams
      .purge(`OBJ_${this.#bucket}`, { filter: this.#chunkSubject(id) })
      .catch(() => {});
  }

  #chunkSubject(id: string): string {
    return `$O.${this.#bucket}.C.${id}`;
  }

  #metaSubject(name: string): string {
    return `$O.${this.#bucket}.M.${paddedBase64Url(Buffer.from(name))}`;
  }
}

function isLive(info: ObjectInfo | null): info is ObjectInfo {
  return info !== null && !info.deleted;
}

function paddedBase64Url(bytes: Buffer): string {
  return bytes.toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}
