/**
 * Calls `sync` when something was heard, when nothing was heard for a while (events can be lost, and a second
 * process may write to the same store), and again soon after a failure. Never two at a time.
 *
 * Until the first success failures are expected, because what is read may be starting too: they are repeated more
 * quickly at first, and told of only when they last.
 */

import { errorMessage } from "../errors.ts";
import type { Clock, Timer } from "./clock.ts";

export type SyncLoopOptions = {
  sync: () => Promise<void>;
  clock: Clock;
  /** Told of a failure that differs from the one told before. */
  onFailure: (reason: string) => void;
  /** @default 5000 */
  pollMs?: number;
  /** How long to wait for further news after the first. @default 20 */
  settleMs?: number;
  /** Between tries after a failure. @default 250 */
  retryMs?: number;
  /** Before the first success: the first delay between tries, doubled up to `retryMs`. @default 50 */
  firstRetryMs?: number;
  /** How long the first success may take before failures are told. @default 3000 */
  patienceMs?: number;
};

export class SyncLoop {
  readonly #options: Required<SyncLoopOptions>;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #running = false;
  #heard = false;
  #stopped = false;
  #lastFailure: string | undefined;
  #startedAt = 0;
  #succeeded = false;
  #failures = 0;

  constructor(options: SyncLoopOptions) {
    this.#options = {
      pollMs: 5000,
      settleMs: 20,
      retryMs: 250,
      firstRetryMs: 50,
      patienceMs: 3000,
      ...options,
    };
  }

  start(): void {
    this.#startedAt = this.#options.clock.now();
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
    const { sync, pollMs, settleMs } = this.#options;
    this.#timerAt = Number.POSITIVE_INFINITY;
    this.#running = true;
    this.#heard = false;
    let nextMs = pollMs;
    try {
      await sync();
      this.#succeeded = true;
      this.#lastFailure = undefined;
    } catch (error) {
      nextMs = this.#retryDelayMs();
      this.#tell(errorMessage(error));
    } finally {
      this.#running = false;
    }
    this.#within(this.#heard ? settleMs : nextMs);
  }

  #retryDelayMs(): number {
    const { retryMs, firstRetryMs } = this.#options;
    return this.#succeeded ? retryMs : Math.min(retryMs, firstRetryMs * 2 ** this.#failures++);
  }

  #tell(reason: string): void {
    const { clock, patienceMs, onFailure } = this.#options;
    if (!this.#succeeded && clock.now() - this.#startedAt < patienceMs) return;
    if (reason !== this.#lastFailure && !this.#stopped) onFailure(reason);
    this.#lastFailure = reason;
  }
}
