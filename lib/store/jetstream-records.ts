/**
 * Records in a JetStream key-value bucket (NATS ADR-8): one subject per key, the stream's sequence number as the
 * revision, compare-and-set by the `Nats-Expected-Last-Subject-Sequence` header.
 *
 * Writes carry a message id, so that one whose answer a restart swallowed can be made again: the server recognises
 * it and repeats its answer. Sequence numbers never repeat, so nothing has to stay behind of a deleted key.
 * In keys "/" becomes "." and "." becomes "=", which occurs in no key.
 */

import { randomUUID } from "node:crypto";
import { Empty, headers, type StoredMsg } from "nats";
import { RevisionConflictError } from "../errors.ts";
import { type JetStreamLink, lostRace, notFound } from "./jetstream-link.ts";
import { encodeRecord, segmentsOf, splitPrefix } from "./record-key.ts";
import type { KeyValueEntry, KeyValueStore } from "./store.ts";

const OPERATION = "KV-Operation";

export class JetStreamKeyValueStore implements KeyValueStore {
  readonly #link: JetStreamLink;
  readonly #stream: string;
  readonly #subjects: string;

  private constructor(link: JetStreamLink, bucket: string) {
    this.#link = link;
    this.#stream = `KV_${bucket}`;
    this.#subjects = `$KV.${bucket}.`;
  }

  /** Makes the bucket unless it exists. */
  static async open(link: JetStreamLink, bucket: string): Promise<JetStreamKeyValueStore> {
    // Reads go to the stream's leader: a direct read may come from a replica that lags behind a write.
    await link.run(() => link.jetstream.views.kv(bucket, { history: 1, allow_direct: false }));
    return new JetStreamKeyValueStore(link, bucket);
  }

  async get<T>(key: string): Promise<KeyValueEntry<T> | undefined> {
    const subject = this.#subjectOf(key);
    const stored = await this.#last(subject);
    if (!stored) return undefined;
    if (isMarker(stored)) {
      await this.#forget(subject, stored.seq);
      return undefined;
    }
    return { key, value: stored.json<T>(), revision: stored.seq };
  }

  async create<T>(key: string, value: T): Promise<KeyValueEntry<T>> {
    const subject = this.#subjectOf(key);
    const text = encodeRecord(key, value);
    let revision = await this.#write(subject, text, 0);
    if (revision === undefined) {
      const stored = await this.#last(subject);
      if (!stored || isMarker(stored)) revision = await this.#write(subject, text, stored?.seq ?? 0);
    }
    if (revision === undefined) throw new RevisionConflictError(key, 0);
    return { key, value, revision };
  }

  async update<T>(key: string, value: T, revision: number): Promise<KeyValueEntry<T>> {
    const subject = this.#subjectOf(key);
    const text = encodeRecord(key, value);
    // To the server, 0 means that the key must not exist.
    const next = revision > 0 ? await this.#write(subject, text, revision) : undefined;
    if (next === undefined) throw new RevisionConflictError(key, revision);
    return { key, value, revision: next };
  }

  async delete(key: string, revision?: number): Promise<void> {
    const subject = this.#subjectOf(key);
    const stored = await this.#last(subject);
    const gone = !stored || isMarker(stored);
    if (revision === undefined) {
      if (gone) return;
    } else if (gone || stored.seq !== revision) throw new RevisionConflictError(key, revision);
    const marker = await this.#write(subject, undefined, revision);
    if (marker === undefined) throw new RevisionConflictError(key, revision ?? 0);
    await this.#forget(subject, marker);
  }

  async keys(prefix: string): Promise<string[]> {
    const { whole } = splitPrefix(prefix);
    const folder = whole.map((segment) => `${token(segment)}.`).join("");
    const subjects = await this.#link.run(async () => {
      const { state } = await this.#link.manager.streams.info(this.#stream, {
        subjects_filter: `${this.#subjects}${folder}>`,
      });
      return Object.keys(state.subjects ?? {});
    });
    return subjects
      .map((subject) => this.#keyOf(subject))
      .filter((key) => key.startsWith(prefix))
      .sort();
  }

  /** The newest message of a key, a deletion marker perhaps. */
  #last(subject: string): Promise<StoredMsg | undefined> {
    return this.#link.run(async () => {
      try {
        return await this.#link.manager.streams.getMessage(this.#stream, { last_by_subj: subject });
      } catch (error) {
        if (notFound(error)) return undefined;
        throw error;
      }
    });
  }

  /**
   * Publishes a value, or a deletion marker without one, if the key is still at `expected`; at any revision when
   * that is undefined. Gives the new revision, or undefined when somebody else was first.
   */
  async #write(
    subject: string,
    text: string | undefined,
    expected: number | undefined,
  ): Promise<number | undefined> {
    const messageHeaders = headers();
    if (text === undefined) messageHeaders.set(OPERATION, "DEL");
    const options = {
      msgID: randomUUID(),
      headers: messageHeaders,
      ...(expected === undefined ? {} : { expect: { lastSubjectSequence: expected } }),
    };
    const payload = text === undefined ? Empty : Buffer.from(text);
    return this.#link.run(async () => {
      try {
        return (await this.#link.jetstream.publish(subject, payload, options)).seq;
      } catch (error) {
        if (lostRace(error)) return undefined;
        throw error;
      }
    });
  }

  /** Removes a deletion marker, and nothing that was written after it. */
  async #forget(subject: string, marker: number): Promise<void> {
    const limits = { filter: subject, seq: marker + 1 };
    await this.#link.run(() => this.#link.manager.streams.purge(this.#stream, limits));
  }

  #subjectOf(key: string): string {
    return this.#subjects + segmentsOf(key).map(token).join(".");
  }

  #keyOf(subject: string): string {
    return subject.slice(this.#subjects.length).replaceAll(".", "/").replaceAll("=", ".");
  }
}

function token(segment: string): string {
  return segment.replaceAll(".", "=");
}

function isMarker(stored: StoredMsg): boolean {
  return stored.header.get(OPERATION) !== "";
}
