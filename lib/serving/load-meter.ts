/**
 * How loaded one node is, measured where requests come in and answers leave, so that whatever makes answers slow
 * counts: queues, workers, a busy event loop. Per model version: the time during which requests were in work, per row
 * answered, over the last few seconds. Rows of a batch share that time, so it is what one more row costs. While no
 * answer comes the cost grows: a node whose workers hang says so. Once they go on, that was an accident.
 */

import type { NodeLoad } from "../protocol/node-load.ts";
import type { Clock } from "./clock.ts";

/** After this long, what was measured counts for 1/e of what is. */
const MEMORY_MS = 2_000;
/** The cost known before counts as so many rows: the first moments after a pause say little. */
const KNOWN_ROWS = 1;
/** How much longer than expected the rows in work may have taken to be taken for what rows cost now. */
const SURPRISE = 10;
/** What rows are expected to take at the least, so that nothing is dear beyond measure. */
const LEAST_MS = 0.01;
/** Fewer rows than this in memory are of long ago. */
const FADED_ROWS = 1e-3;

export class LoadMeter {
  readonly #clock: Clock;
  readonly #versions = new WeakMap<object, Version>();
  /** Those that were asked in the last seconds: a reading looks at no others. */
  readonly #active = new Set<Version>();
  /** When none is active. */
  #lastRowMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @param key stands for a model version
   * @returns to be called once when they leave. What was refused or given up took no part in the work, and would make it
   * look easy
   */
  began(key: object, rows: number): (answered: boolean) => void {
    const now = this.#clock.now();
    let version = this.#versions.get(key);
    if (!version) {
      version = { rows: 0, waitingMs: 0, busyMs: 0, answered: 0, rowMs: undefined, at: now };
      this.#versions.set(key, version);
    }
    const counted = version;
    this.#advance(counted, now);
    this.#active.add(counted);
    counted.rows += rows;
    return (answered) => {
      this.#advance(counted, this.#clock.now());
      const { rowMs = Number.POSITIVE_INFINITY } = counted;
      const mostMs = SURPRISE * Math.max(rowMs, LEAST_MS) * counted.rows;
      counted.rows -= rows;
      if (!answered && counted.rows > 0) return;
      counted.busyMs += Math.min(counted.waitingMs, mostMs);
      counted.waitingMs = 0;
      if (!answered) return;
      counted.answered += rows;
      counted.rowMs = rowMsOf(counted);
    };
  }

  read(): NodeLoad {
    let [rows, waitMs, costMs, weight] = [0, 0, 0, 0];
    const now = this.#clock.now();
    for (const version of this.#active) {
      this.#advance(version, now);
      if (version.rows === 0 && version.answered < FADED_ROWS) this.#active.delete(version);
      const rowMs = rowMsOf(version);
      rows += version.rows;
      waitMs += version.rows * rowMs;
      costMs += rowMs * version.answered;
      weight += version.answered;
    }
    if (weight > 0) this.#lastRowMs = costMs / weight;
    return { rows, waitMs, rowMs: this.#lastRowMs };
  }

  #advance(version: Version, now: number): void {
    const elapsedMs = now - version.at;
    if (elapsedMs <= 0) return;
    const kept = Math.exp(-elapsedMs / MEMORY_MS);
    version.busyMs *= kept;
    if (version.rows > 0) version.waitingMs += elapsedMs;
    version.answered *= kept;
    version.at = now;
  }
}

type Version = {
  /** In work. */
  rows: number;
  /** Time with rows in work since the last answer. */
  waitingMs: number;
  /** Time with rows in work before, and rows answered; both fade. */
  busyMs: number;
  answered: number;
  /** What a row cost when one was last answered. */
  rowMs: number | undefined;
  at: number;
};

function rowMsOf({ waitingMs, busyMs, answered, rowMs }: Version): number {
  if (rowMs === undefined) return answered > 0 ? busyMs / answered : 0;
  return (waitingMs + busyMs + KNOWN_ROWS * rowMs) / (answered + KNOWN_ROWS);
}
