/**
 * How soon the next row of a model version is likely to come, from those that came: a running mean of the time per row
 * over the last few dozen arrivals. A pause that grows longer than the mean counts as it grows, so that the end of a
 * burst is noticed. Nothing is allocated per arrival.
 */

/** Arrivals the mean reaches back to, about. */
const REMEMBERED = 32;

export class ArrivalRate {
  #lastAt = Number.NEGATIVE_INFINITY;
  #gapMs = Number.POSITIVE_INFINITY;
  #arrivals = 0;

  arrived(rows: number, now: number): void {
    const gapMs = (now - this.#lastAt) / rows;
    this.#lastAt = now;
    if (!Number.isFinite(gapMs)) return;
    this.#arrivals++;
    // Those of one turn of the event loop come as one; long pauses between bursts say nothing of the bursts.
    if (this.#arrivals === 1) this.#gapMs = gapMs;
    else
      this.#gapMs +=
        (Math.min(gapMs, 8 * this.#gapMs + 1) - this.#gapMs) / Math.min(this.#arrivals, REMEMBERED);
  }

  /** When the last row came. */
  get lastAt(): number {
    return this.#lastAt;
  }

  /** Expected time to the next row; Infinity while nothing is known. */
  gapMs(now: number): number {
    return Math.max(this.#gapMs, now - this.#lastAt);
  }
}
