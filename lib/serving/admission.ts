/**
 * Who may wait for a batch: as many requests as the queue takes, and where the policy says so more of them outside it,
 * which are let in as there is room, first come, first served. Whoever is refused is told how long what waits will take,
 * at the pace of late.
 */

import { BatchQueue, type QueuedRequest } from "./batch-queue.ts";
import { RowRate } from "./row-rate.ts";
import { type Waiter, WaitingRoom } from "./waiting-room.ts";

export type AdmissionPolicy = {
  /** Most requests waiting. */
  maxQueue: number;
  /** Of a request that finds the queue full: refused, or kept outside until there is room. @default "reject" */
  whenFull?: "reject" | "delay" | undefined;
};

/** Bounds of what a caller who is refused is told to wait. */
const RETRY_SECONDS = { least: 1, most: 60 };

export class Admission<R extends QueuedRequest & Waiter> {
  readonly queue = new BatchQueue<R>();
  readonly #outside = new WaitingRoom<R>();
  readonly #answered = new RowRate();
  readonly #onLetIn: () => void;
  #policy: AdmissionPolicy;

  /** @param onLetIn told when a request has come from outside into the queue */
  constructor(policy: AdmissionPolicy, onLetIn: () => void) {
    this.#policy = policy;
    this.#onLetIn = onLetIn;
  }

  set policy(policy: AdmissionPolicy) {
    this.#policy = policy;
    this.letIn();
  }

  /** Requests in the queue and outside it. */
  get size(): number {
    return this.queue.size + this.#outside.size;
  }

  /** Whether a request that comes now may not even wait outside. */
  get isClosed(): boolean {
    const { maxQueue, whenFull } = this.#policy;
    return this.#isFull && (whenFull !== "delay" || this.#outside.isFull(maxQueue));
  }

  /** Only where it is not closed. */
  enter(request: R): void {
    if (this.#isFull) this.#outside.enter(request);
    else this.queue.push(request);
  }

  /** Takes a request out of wherever it waits. */
  leave(request: R): void {
    if (!this.#outside.leave(request)) this.queue.remove(request);
    this.letIn();
  }

  /** Lets in who waits outside, as far as there is room. */
  letIn(): void {
    while (this.#outside.size > 0 && !this.#isFull) {
      this.queue.push(this.#outside.next()!);
      this.#onLetIn();
    }
  }

  /** Takes everything, from outside too. */
  takeAll(): R[] {
    return [...this.#outside.takeAll(), ...this.queue.takeAll()];
  }

  /** Rows have been answered. */
  answered(rows: number, now: number): void {
    this.#answered.passed(rows, now);
  }

  /** When a request that is refused now would find room, about. */
  retryAfterSeconds(now: number): number {
    const backlogMs = (this.queue.rows + this.#outside.rows) * this.#answered.gapMs(now);
    if (!Number.isFinite(backlogMs)) return RETRY_SECONDS.least;
    return Math.min(Math.max(Math.ceil(backlogMs / 1000), RETRY_SECONDS.least), RETRY_SECONDS.most);
  }

  get #isFull(): boolean {
    return this.queue.size >= this.#policy.maxQueue;
  }
}
