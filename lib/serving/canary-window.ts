/**
 * What two versions have done over the same last minutes. Time is cut into slices, and what is older than the window is
 * forgotten slice by slice, but not below the requests that a judgement needs: where few come, the window reaches
 * further back. Bounded: when there are many slices the oldest are merged.
 */

import type { VersionTally } from "../protocol/rollout.ts";
import type { Clock } from "./clock.ts";
import { LatencyHistogram } from "./latency-histogram.ts";

export type Side = "canary" | "production";

export type CanaryWindowOptions = {
  clock: Clock;
  /** Requests of the canary that are kept, however old. */
  minRequests: number;
  /** @default 5 minutes */
  windowMs?: number;
  /** @default 10 seconds */
  sliceMs?: number;
};

const MAX_SLICES = 40;

class Tally {
  requests = 0;
  failures = 0;
  readonly latency = new LatencyHistogram();

  merge(other: Tally): void {
    this.requests += other.requests;
    this.failures += other.failures;
    this.latency.merge(other.latency);
  }

  subtract(other: Tally): void {
    this.requests -= other.requests;
    this.failures -= other.failures;
    this.latency.subtract(other.latency);
  }
}

class Slice {
  readonly from: number;
  readonly canary = new Tally();
  readonly production = new Tally();

  constructor(from: number) {
    this.from = from;
  }
}

export class CanaryWindow {
  readonly #clock: Clock;
  readonly #minRequests: number;
  readonly #windowMs: number;
  readonly #sliceMs: number;
  /** Oldest first; never empty after the first request. */
  readonly #slices: Slice[] = [];
  readonly #total = new Slice(0);

  constructor({ clock, minRequests, windowMs = 300_000, sliceMs = 10_000 }: CanaryWindowOptions) {
    this.#clock = clock;
    this.#minRequests = minRequests;
    this.#windowMs = windowMs;
    this.#sliceMs = sliceMs;
  }

  answered(side: Side, tookMs: number): void {
    for (const { [side]: tally } of [this.#now(), this.#total]) {
      tally.requests++;
      tally.latency.add(tookMs);
    }
  }

  failed(side: Side): void {
    for (const { [side]: tally } of [this.#now(), this.#total]) {
      tally.requests++;
      tally.failures++;
    }
  }

  read(side: Side): VersionTally {
    this.#forget(this.#clock.now());
    const { requests, failures, latency } = this.#total[side];
    return { requests, failures, p95Ms: latency.quantile(0.95) };
  }

  /** The slice of now. */
  #now(): Slice {
    const now = this.#clock.now();
    let slice = this.#slices.at(-1);
    if (!slice || now - slice.from >= this.#sliceMs) {
      slice = new Slice(now);
      this.#slices.push(slice);
    }
    this.#forget(now);
    return slice;
  }

  #forget(now: number): void {
    const { canary, production } = this.#total;
    for (let [oldest, next] = this.#slices; oldest && next; [oldest, next] = this.#slices) {
      const old = next.from <= now - this.#windowMs;
      if (!old || canary.requests - oldest.canary.requests < this.#minRequests) break;
      canary.subtract(oldest.canary);
      production.subtract(oldest.production);
      this.#slices.shift();
    }
    if (this.#slices.length <= MAX_SLICES) return;
    const [merged] = this.#slices.splice(1, 1);
    this.#slices[0]!.canary.merge(merged!.canary);
    this.#slices[0]!.production.merge(merged!.production);
  }
}
