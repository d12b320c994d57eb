/**
 * Subscribers to training jobs: `GET /api/jobs/:id/events`. A stream begins with the job's record, passes on the
 * job's broadcast events and ends with `ended`. Broadcasts can be lost; so with every heartbeat the record is read
 * again, and a job that has ended meanwhile ends its streams.
 */

import type { ServerResponse } from "node:http";
import { QueueFullError } from "../../lib/errors.ts";
import { EventStream } from "../../lib/http/event-stream.ts";
import type { Events } from "../../lib/protocol/events.ts";
import type { Job } from "../../lib/protocol/jobs.ts";

/** The events a stream passes on, and what it calls them. */
const STREAMED = {
  "training.progressed": "progressed",
  "training.epochCompleted": "epochCompleted",
  "training.stageChanged": "stageChanged",
  "training.ended": "ended",
} as const satisfies Partial<Record<keyof Events, string>>;

export type StreamedEvent = keyof typeof STREAMED;

export const STREAMED_EVENTS = Object.keys(STREAMED) as StreamedEvent[];

type Subscription = {
  id: string;
  stream: EventStream | undefined;
  /** Events that arrived before the record did. */
  held: (() => void)[];
};

const HEARTBEAT_MS = 15_000;
const MAX_STREAMS = 1_000;
const MAX_HELD = 100;

export type JobStreamOptions = { heartbeatMs?: number; maxStreams?: number };

export class JobStreams {
  readonly #read: (id: string) => Promise<Job>;
  readonly #heartbeatMs: number;
  readonly #maxStreams: number;
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  #count = 0;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(read: (id: string) => Promise<Job>, options: JobStreamOptions = {}) {
    this.#read = read;
    this.#heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS;
    this.#maxStreams = options.maxStreams ?? MAX_STREAMS;
  }

  /** Open streams. */
  get size(): number {
    return this.#count;
  }

  /**
   * Answers with a job's events, from now on.
   * @throws {JobNotFoundError} {QueueFullError} before anything is sent
   */
  async open(id: string, response: ServerResponse): Promise<void> {
    if (this.#count >= this.#maxStreams) throw new QueueFullError("event streams", this.#maxStreams, 5);
    const subscription: Subscription = { id, stream: undefined, held: [] };
    this.#add(subscription);
    try {
      const job = await this.#read(id);
      if (response.destroyed || !this.#has(subscription)) return this.#remove(subscription);
      const stream = new EventStream(response, () => this.#remove(subscription));
      subscription.stream = stream;
      stream.send("job", job, "milestone");
      for (const send of subscription.held.splice(0)) send();
      if (hasEnded(job)) stream.end("ended", { id, job });
    } catch (error) {
      this.#remove(subscription);
      throw error;
    }
  }

  publish<E extends StreamedEvent>(event: E, payload: Events[E]): void {
    for (const subscription of this.#subscriptions.get(payload.id) ?? []) {
      const send = (): void => deliver(subscription.stream, event, payload);
      if (subscription.stream) send();
      else if (subscription.held.length < MAX_HELD) subscription.held.push(send);
    }
  }

  /** Ends every stream, so that none keeps the server from closing. */
  close(): void {
    for (const subscriptions of this.#subscriptions.values())
      for (const subscription of [...subscriptions]) {
        subscription.stream?.close();
        this.#remove(subscription);
      }
  }

  #add(subscription: Subscription): void {
    const others = this.#subscriptions.get(subscription.id);
    if (others) others.add(subscription);
    else this.#subscriptions.set(subscription.id, new Set([subscription]));
    this.#count += 1;
    this.#heartbeat ??= setInterval(() => void this.#beat(), this.#heartbeatMs);
  }

  #has(subscription: Subscription): boolean {
    return this.#subscriptions.get(subscription.id)?.has(subscription) ?? false;
  }

  #remove(subscription: Subscription): void {
    const others = this.#subscriptions.get(subscription.id);
    if (!others?.delete(subscription)) return;
    if (others.size === 0) this.#subscriptions.delete(subscription.id);
    this.#count -= 1;
    if (this.#count === 0) {
      clearInterval(this.#heartbeat);
      this.#heartbeat = undefined;
    }
  }

  async #beat(): Promise<void> {
    for (const [id, subscriptions] of this.#subscriptions) {
      for (const { stream } of subscriptions) stream?.heartbeat();
      // A job that cannot be read now may be readable at the next beat.
      const job = await this.#read(id).catch(() => undefined);
      if (job && hasEnded(job)) this.publish("training.ended", { id, job });
    }
  }
}

function deliver<E extends StreamedEvent>(
  stream: EventStream | undefined,
  event: E,
  payload: Events[E],
): void {
  if (event === "training.ended") stream?.end(STREAMED[event], payload);
  else stream?.send(STREAMED[event], payload, event === "training.progressed" ? "progress" : "milestone");
}

function hasEnded({ state }: Job): boolean {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}
