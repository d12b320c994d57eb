/**
 * How often a job tells everybody of its epochs: each of the first ten, and of any that are no quicker than ten a
 * second. Of quicker ones the newest is told ten times a second and the others are left out; the job's record has them.
 */

import type { EpochRecord } from "../protocol/jobs.ts";

/** Told at once, whatever their pace. */
const BURST = 10;
const INTERVAL_MS = 100;

export class EpochEvents {
  readonly #tell: (epoch: EpochRecord) => void;
  readonly #now: () => number;
  /** How many may be told now; grows by one in each interval. */
  #allowed = BURST;
  #countedAt: number;
  /** The newest that waits for its turn. */
  #held: EpochRecord | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param now in milliseconds */
  constructor(tell: (epoch: EpochRecord) => void, now: () => number = () => performance.now()) {
    this.#tell = tell;
    this.#now = now;
    this.#countedAt = now();
  }

  completed(epoch: EpochRecord): void {
    this.#held = epoch;
    if (this.#timer) return;
    const now = this.#now();
    this.#allowed = Math.min(BURST, this.#allowed + (now - this.#countedAt) / INTERVAL_MS);
    this.#countedAt = now;
    if (this.#allowed >= 1) this.#next();
    else this.#timer = setTimeout(() => this.#next(), (1 - this.#allowed) * INTERVAL_MS);
  }

  /** Tells what is held: the last epoch is never left out. */
  close(): void {
    clearTimeout(this.#timer);
    this.#next();
  }

  #next(): void {
    const held = this.#held;
    if (this.#timer) {
      // What was still to come when it began to wait has come.
      this.#timer = undefined;
      this.#allowed = 1;
      this.#countedAt = this.#now();
    }
    this.#held = undefined;
    if (!held) return;
    this.#allowed -= 1;
    this.#tell(held);
  }
}
