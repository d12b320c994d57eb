/**
 * Notices when the machine stands still: a virtual machine that its host stops, or a processor that others keep for
 * themselves. All deadlines pass in such a moment, whatever the code does.
 */

const TICK_MS = 50;
/** Far more than a loaded scheduler takes to come round. */
const STALL_MS = 1_000;

export type Stall = { endedMs: number; lastedMs: number };

export class StallWatch {
  readonly #now: () => number;
  readonly #stalls: Stall[] = [];
  #timer: NodeJS.Timeout | undefined;
  #tickedMs: number;

  constructor(now = () => performance.now()) {
    this.#now = now;
    this.#tickedMs = now();
  }

  start(): void {
    this.#tickedMs = this.#now();
    this.#timer = setInterval(() => this.tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  tick(): void {
    const endedMs = this.#now();
    const lastedMs = endedMs - this.#tickedMs - TICK_MS;
    if (lastedMs >= STALL_MS) this.#stalls.push({ endedMs, lastedMs });
    this.#tickedMs = endedMs;
  }

  /** The longest stall that reached into the time since `fromMs`, in ms; 0 when there was none. */
  longestSince(fromMs: number): number {
    // What asks may run before the timer does.
    this.tick();
    const since = this.#stalls.filter(({ endedMs }) => endedMs >= fromMs);
    return Math.max(0, ...since.map(({ lastedMs }) => lastedMs));
  }
}
