/**
 * A caller that waits: answered exactly once, by an answer, an error, its deadline or its own leaving, whichever
 * comes first. Everything later is ignored.
 */

import type { Expiring } from "./deadlines.ts";

export type Settle<T> = {
  resolve(answer: T): void;
  reject(error: Error): void;
  /** The error of a deadline that passed. */
  late(): Error;
  /** Called once, before the answer: take the caller out of wherever it waits. */
  left(): void;
};

export class Pending<T> implements Expiring {
  readonly expiresAt: number;
  settled = false;
  deadlineIndex = -1;
  readonly #settle: Settle<T>;
  #unlisten: (() => void) | undefined;

  constructor(expiresAt: number, settle: Settle<T>) {
    this.expiresAt = expiresAt;
    this.#settle = settle;
  }

  abortOn(signal: AbortSignal, error: () => Error): void {
    const listener = () => this.fail(error());
    signal.addEventListener("abort", listener, { once: true });
    this.#unlisten = () => signal.removeEventListener("abort", listener);
  }

  expire(): void {
    this.fail(this.#settle.late());
  }

  succeed(answer: T): void {
    if (this.#leave()) this.#settle.resolve(answer);
  }

  fail(error: Error): void {
    if (this.#leave()) this.#settle.reject(error);
  }

  #leave(): boolean {
    if (this.settled) return false;
    this.settled = true;
    this.#unlisten?.();
    this.#settle.left();
    return true;
  }
}
