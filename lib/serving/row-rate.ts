/**
 * How fast rows of a model version come, or are answered: a running mean of the time per row over the last few dozen
 * times. A pause that grows longer than the mean counts as it grows, so that the end of a burst is noticed. Nothing is
 * allocated per row.
 */

/** Times the mean reaches back to, about. */
const REMEMBERED = 32;

export class RowRate {
  #lastAt = Number.NEGATIVE_INFINITY;
  #gapMs = Number.POSITIVE_INFINITY;
  #times = 0;

  passed(rows: number, now: number): void {
    const gapMs = (now - this.#lastAt) / rows;
    this.#lastAt = now;
    if (!Number.isFinite(gapMs)) return;
    this.#times++;
    // Those of one turn of the event loop come as one; long pauses between bursts say nothing of the bursts.
    if (this.#times === 1) this.#gapMs = gapMs;
    else
      this.#gapMs += (Math.min(gapMs, 8 * this.#gapMs + 1) - this.#gapMs) / Math.min(this.#times, REMEMBERED);
  }

  /** When the last rows passed. */
  get lastAt(): number {
    return this.#lastAt;
  }

  /** Expected time to the next row; Infinity while nothing is known. */
  gapMs(now: number): number {
    return Math.max(this.#gapMs, now - this.#lastAt);
  }
}
