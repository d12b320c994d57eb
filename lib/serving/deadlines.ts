/**
 * Many deadlines behind one timer. Serving sets a deadline per request and nearly always meets it; a timer each
 * would cost more than the request's queueing. The timer stands at the earliest known deadline and, when it fires,
 * looks at what is still there.
 *
 * Items are kept in an array, each knowing its place. A `Set` would do, but V8 leaves in the table that a growing or
 * shrinking one gives up both its entries and the way to the next table: once a table is in the old generation, all
 * later ones, and the requests in them, stay until a full collection.
 */

import type { Clock, Timer } from "./clock.ts";

export interface Expiring {
  /** In the clock's milliseconds; Infinity never expires. */
  readonly expiresAt: number;
  /** Kept by `Deadlines`: its place there; -1 where it is in none. */
  deadlineIndex: number;
  expire(): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #items: Expiring[] = [];
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(item: Expiring): void {
    if (item.expiresAt === Number.POSITIVE_INFINITY) return;
    item.deadlineIndex = this.#items.push(item) - 1;
    if (item.expiresAt < this.#timerAt) this.#arm(item.expiresAt);
  }

  delete(item: Expiring): void {
    const index = item.deadlineIndex;
    if (index < 0) return;
    const last = this.#items.pop()!;
    if (last !== item) {
      this.#items[index] = last;
      last.deadlineIndex = index;
    }
    item.deadlineIndex = -1;
  }

  close(): void {
    for (const item of this.#items) item.deadlineIndex = -1;
    this.#items.length = 0;
    this.#disarm();
  }

  #arm(at: number): void {
    this.#disarm();
    this.#timerAt = at;
    this.#timer = this.#clock.after(Math.max(0, at - this.#clock.now()), () => this.#sweep());
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #sweep(): void {
    this.#disarm();
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const item of [...this.#items]) {
      if (item.expiresAt <= now) {
        this.delete(item);
        item.expire();
      } else next = Math.min(next, item.expiresAt);
    }
    if (next < this.#timerAt) this.#arm(next);
  }
}
