/**
 * Requests that found the queue full and wait outside it for room, first come, first let in. Bounded as the queue is, by
 * so many times what that takes; any request can leave in constant time.
 *
 * They are kept in an array, each knowing its place, and not in a Set, for the reason given in deadlines.ts.
 */

/** Most requests in the room, for each that the queue takes. */
const TIMES_THE_QUEUE = 10;
/** Fewer gaps than this are let be. */
const FEW_GAPS = 64;

export interface Waiter {
  readonly rows: number;
  /** Kept by `WaitingRoom`: its number there; -1 where it is in none. */
  roomNumber: number;
}

export class WaitingRoom<R extends Waiter> {
  /** In the order of their coming, with gaps where some have left. */
  readonly #waiting: (R | undefined)[] = [];
  /** How many of the first are gone. */
  #gone = 0;
  /** Number of the first of `#waiting`. */
  #firstNumber = 0;
  #size = 0;
  #rows = 0;

  get size(): number {
    return this.#size;
  }

  /** Of all requests here. */
  get rows(): number {
    return this.#rows;
  }

  /** @param maxQueue most requests in the queue */
  isFull(maxQueue: number): boolean {
    return this.#size >= TIMES_THE_QUEUE * maxQueue;
  }

  enter(request: R): void {
    // While the first stays, those behind it may come and go without end.
    if (this.#waiting.length > 2 * this.#size + FEW_GAPS) this.#closeGaps();
    request.roomNumber = this.#firstNumber + this.#waiting.push(request) - 1;
    this.#size++;
    this.#rows += request.rows;
  }

  /** Whether it was here. */
  leave(request: R): boolean {
    if (request.roomNumber < 0) return false;
    this.#waiting[request.roomNumber - this.#firstNumber] = undefined;
    request.roomNumber = -1;
    this.#size--;
    this.#rows -= request.rows;
    this.#forgetGone();
    return true;
  }

  /** Lets out the one that came first. */
  next(): R | undefined {
    const first = this.#waiting[this.#gone];
    if (first) this.leave(first);
    return first;
  }

  takeAll(): R[] {
    const all: R[] = [];
    for (let first = this.next(); first; first = this.next()) all.push(first);
    return all;
  }

  #closeGaps(): void {
    const waiting = this.#waiting.filter((request) => request !== undefined);
    for (const [i, request] of waiting.entries()) {
      request.roomNumber = this.#firstNumber + i;
      this.#waiting[i] = request;
    }
    this.#waiting.length = waiting.length;
    this.#gone = 0;
  }

  /** Places that are kept, those of who has left included. */
  get places(): number {
    return this.#waiting.length;
  }

  /** In one piece once they are half of what is kept: constant time, on the whole. */
  #forgetGone(): void {
    while (this.#gone < this.#waiting.length && this.#waiting[this.#gone] === undefined) this.#gone++;
    if (2 * this.#gone < this.#waiting.length) return;
    this.#waiting.splice(0, this.#gone);
    this.#firstNumber += this.#gone;
    this.#gone = 0;
  }
}
