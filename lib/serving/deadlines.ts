/**
 * Many deadlines behind one timer. Serving sets a deadline per request and nearly always meets it; a timer each
 * would cost more than the request's queueing. The timer stands at the earliest known deadline and, when it fires,
 * looks at what is still there.
 */

import type { Clock, Timer } from "./clock.ts";

export interface Expiring {
  /** In the clock's milliseconds; Infinity never expires. */
  readonly expiresAt: number;
  expire(): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #items = new Set<Expiring>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(item: Expiring): void {
    if (item.expiresAt === Number.POSITIVE_INFINITY) return;
    this.#items.add(item);
    if (item.expiresAt < this.#timerAt) this.#arm(item.expiresAt);
  }

  delete(item: Expiring): void {
    this.#items.delete(item);
  }

  close(): void {
    this.#items.clear();
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
        this.#items.delete(item);
        item.expire();
      } else next = Math.min(next, item.expiresAt);
    }
    if (next < this.#timerAt) this.#arm(next);
  }
}
