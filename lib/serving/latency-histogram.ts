/**
 * Latencies in buckets that grow by 5%, from a microsecond to an hour: any quantile to within 5%, in constant space, and
 * histograms can be added to and taken from one another.
 */

const GROWTH = 1.05;
const LOG_GROWTH = Math.log(GROWTH);
const LEAST_MS = 0.001;
const BUCKETS = Math.ceil(Math.log(3_600_000 / LEAST_MS) / LOG_GROWTH) + 1;

export class LatencyHistogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(tookMs: number): void {
    const bucket = Math.ceil(Math.log(Math.max(tookMs, LEAST_MS) / LEAST_MS) / LOG_GROWTH);
    this.#counts[Math.min(bucket, BUCKETS - 1)]!++;
    this.#count++;
  }

  merge(other: LatencyHistogram): void {
    for (let i = 0; i < BUCKETS; i++) this.#counts[i]! += other.#counts[i]!;
    this.#count += other.#count;
  }

  /** Takes away what was merged, or added to both. */
  subtract(other: LatencyHistogram): void {
    for (let i = 0; i < BUCKETS; i++) this.#counts[i]! -= other.#counts[i]!;
    this.#count -= other.#count;
  }

  /** Milliseconds that `share` of the latencies do not exceed; null of none. */
  quantile(share: number): number | null {
    if (this.#count === 0) return null;
    let left = Math.max(1, Math.ceil(share * this.#count));
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.#counts[i]!;
      if (left <= 0) return LEAST_MS * GROWTH ** i;
    }
    return LEAST_MS * GROWTH ** (BUCKETS - 1);
  }
}
