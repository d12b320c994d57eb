/**
 * Calls `sync` when something was heard, when nothing was heard for a while (events can be lost, and a second
 * process may write to the same store), and again soon after a failure. Never two at a time.
 */

import { errorMessage } from "../errors.ts";
import type { Clock, Timer } from "./clock.ts";

export type SyncLoopOptions = {
  sync: () => Promise<void>;
  clock: Clock;
  /** Told of a failure that differs from the one before. */
  onFailure: (reason: string) => void;
  /** @default 5000 */
  pollMs?: number;
  /** How long to wait for further news after the first. @default 20 */
  settleMs?: number;
  /** @default 250 */
  retryMs?: number;
};

export class SyncLoop {
  readonly #options: Required<SyncLoopOptions>;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #running = false;
  #heard = false;
  #stopped = false;
  #lastFailure: string | undefined;

  constructor(options: SyncLoopOptions) {
    this.#options = { pollMs: 5000, settleMs: 20, retryMs: 250, ...options };
  }

  start(): void {
    this.#within(0);
  }

  /** Something changed. */
  poke(): void {
    this.#heard = true;
    if (!this.#running) this.#within(this.#options.settleMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #within(delayMs: number): void {
    const { clock } = this.#options;
    const at = clock.now() + delayMs;
    if (this.#stopped || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = clock.after(delayMs, () => void this.#run());
  }

  async #run(): Promise<void> {
    const { sync, onFailure, pollMs, settleMs, retryMs } = this.#options;
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#running = true;
    this.#heard = false;
    let nextMs = pollMs;
    try {
      await sync();
      this.#lastFailure = undefined;
    } catch (error) {
      nextMs = retryMs;
      const reason = errorMessage(error);
      if (reason !== this.#lastFailure && !this.#stopped) onFailure(reason);
      this.#lastFailure = reason;
    } finally {
      this.#running = false;
    }
    this.#within(this.#heard ? settleMs : nextMs);
  }
}
