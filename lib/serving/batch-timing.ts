/**
 * When a batch that is not full should run, and of how many rows, from what batches of this model cost and how soon rows come.
 *
 * While no worker is idle, waiting costs nothing: whatever is posted would wait in the worker, and rows that come until
 * then could not join. So the batch is held until the worker is about to be free, and posted just before that, which
 * hides the thread's wake-up.
 *
 * While a worker is idle, waiting for one more row delays all that wait by the expected gap, and spares the row that
 * comes a batch of its own. With one row waiting and one to come that pays where two gaps take less than a batch costs
 * by itself (Deb and Serfozo, Optimal control of batch service queues, 1973, for the form of the rule). A lone caller,
 * who sends again once he is answered, has gaps longer than a whole batch and never waits; nor does anyone for less than
 * timers can tell.
 */

import { BatchCost } from "./batch-cost.ts";
import { RowRate } from "./row-rate.ts";

/** A batch is posted so long before its worker is free: a thread's wake-up, and the time to assemble it. */
const LEAD_MS = 0.1;
/** What a wait of less would come to anyway. */
const TIMER_MS = 1;

export type Waiting = { rows: number; queuedAt: number };

export class BatchTiming {
  readonly cost = new BatchCost();
  readonly arrivals = new RowRate();

  /**
   * When to run a batch that could take more rows, in the clock's milliseconds; now or earlier: at once.
   * @param freeInMs of the worker that would run it; 0: it is idle
   * @param maxDelayMs longest wait, from the arrival of the oldest row, while a worker is idle or nothing is known
   */
  dueAt({ rows, queuedAt }: Waiting, now: number, freeInMs: number, maxDelayMs: number): number {
    if (freeInMs > 0) return this.cost.isKnown ? now + freeInMs - LEAD_MS : queuedAt + maxDelayMs;
    // The longest pause after the last arrival for which it pays to wait for the next.
    const worthMs = this.cost.perBatchMs / (2 * rows);
    if (worthMs < TIMER_MS || this.arrivals.gapMs(now) >= worthMs) return now;
    return Math.min(queuedAt + maxDelayMs, this.arrivals.lastAt + worthMs);
  }

  /**
   * How many of the rows that wait go into the next batch: as many as make it cheap, and no more than an idle worker's
   * share where the time that saves is more than the batches cost that it takes.
   */
  rowsToTake(waiting: number, maxRows: number, idleWorkers: number): number {
    const rows = Math.min(waiting, maxRows, this.cost.enoughRows(waiting >= maxRows));
    if (idleWorkers < 2) return rows;
    const share = Math.ceil(rows / idleWorkers);
    const savedMs = (rows - share) * this.cost.perRowMs;
    return savedMs > this.cost.perBatchMs ? share : rows;
  }
}
