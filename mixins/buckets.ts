/**
 * Histograms as plain numbers: observing costs a few additions. Moleculer's own hashes the labels, looks its buckets up
 * by name and makes an object for each. What is counted here is printed from here (`printFrom`); whoever reads the
 * buckets finds quantiles and rates in them.
 */

import type { ServiceBroker } from "moleculer";

/** Upper bounds, in ms: dense where predictions are. */
export const TIME_BUCKETS_MS: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];
/** Upper bounds of counts. */
export const COUNT_BUCKETS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

export type Labels = Readonly<Record<string, string>>;

/** One labelled value, as Moleculer's metrics snapshot it. */
export type Reading = {
  labels: Readonly<Record<string, unknown>>;
  value?: number;
  count?: number;
  sum?: number;
  buckets?: Record<string, number>;
};

/** What has been observed under one set of labels. */
export class BucketCounts {
  count = 0;
  sum = 0;
  readonly #bounds: readonly number[];
  /** Not cumulative; the last one is beyond every bound. */
  readonly #counts: Float64Array;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number, times = 1): void {
    this.count += times;
    this.sum += value * times;
    const bounds = this.#bounds;
    let bucket = 0;
    while (value > bounds[bucket]!) bucket += 1;
    this.#counts[bucket]! += times;
  }

  read(): Required<Pick<Reading, "count" | "sum" | "buckets">> {
    const buckets: Record<string, number> = {};
    let below = 0;
    for (const [i, bound] of this.#bounds.entries()) {
      below += this.#counts[i]!;
      buckets[bound] = below;
    }
    return { count: this.count, sum: this.sum, buckets };
  }
}

/** One histogram, by the values of its labels. */
export class LabelledBuckets {
  readonly #labelNames: readonly string[];
  readonly #bounds: readonly number[];
  readonly #cells = new Map<string, { labels: Labels; counts: BucketCounts }>();

  constructor(labelNames: readonly string[], bounds: readonly number[]) {
    this.#labelNames = labelNames;
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}, times = 1): void {
    let key = "";
    for (const name of this.#labelNames) key += `${labels[name]}\n`;
    let cell = this.#cells.get(key);
    if (!cell) {
      cell = { labels: { ...labels }, counts: new BucketCounts(this.#bounds) };
      this.#cells.set(key, cell);
    }
    cell.counts.observe(value, times);
  }

  read(): Reading[] {
    return [...this.#cells.values()].map(({ labels, counts }) => ({ labels, ...counts.read() }));
  }
}

/** Makes a metric that is registered print what is read whenever metrics are; without metrics it does nothing. */
export function printFrom({ metrics }: ServiceBroker, name: string, read: () => readonly Reading[]): void {
  const metric = metrics.getMetric(name) as { snapshot: () => object[] } | null;
  if (!metric) return;
  metric.snapshot = () =>
    read().map((reading) => ({
      key: Object.values(reading.labels).join("|"),
      timestamp: Date.now(),
      ...reading,
    }));
}
