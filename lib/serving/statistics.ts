/** Keeps the statistics of one model version on this node: a few additions per request. */

import type { BatchStatistics, Duration, ModelStatistics, RunTimes } from "../protocol/statistics.ts";
import type { ModelName } from "../runtime/worker-pool.ts";

const NS_PER_MS = 1e6;
const none = (): Duration => ({ count: 0, ns: 0 });

export class VersionStatistics {
  readonly #name: ModelName;
  readonly #totals = {
    success: none(),
    fail: none(),
    queue: none(),
    computeInput: none(),
    computeInfer: none(),
    computeOutput: none(),
    cacheHit: none(),
    cacheMiss: none(),
  };
  /** By rows: as many as a batch may have. */
  readonly #batches = new Map<number, BatchStatistics>();
  #lastInference = 0;
  #inferenceCount = 0;
  #executionCount = 0;

  constructor(name: ModelName) {
    this.#name = name;
  }

  answered(outcome: "success" | "fail", tookMs: number): void {
    add(this.#totals[outcome], tookMs);
  }

  /** A request was answered from the cache, or had to be run although it was looked for there. */
  lookedUp(found: boolean, tookMs: number): void {
    add(found ? this.#totals.cacheHit : this.#totals.cacheMiss, tookMs);
  }

  /**
   * A batch was run.
   * @param queuedMs of each of its requests
   */
  ran(rows: number, queuedMs: readonly number[], { inputMs, inferMs, outputMs }: RunTimes): void {
    this.#lastInference = Date.now();
    this.#inferenceCount += rows;
    this.#executionCount++;
    const { queue, computeInput, computeInfer, computeOutput } = this.#totals;
    for (const ms of queuedMs) add(queue, ms);
    add(computeInput, inputMs, queuedMs.length);
    add(computeInfer, inferMs, queuedMs.length);
    add(computeOutput, outputMs, queuedMs.length);
    let batch = this.#batches.get(rows);
    if (!batch) {
      batch = { batchSize: rows, computeInput: none(), computeInfer: none(), computeOutput: none() };
      this.#batches.set(rows, batch);
    }
    add(batch.computeInput, inputMs);
    add(batch.computeInfer, inferMs);
    add(batch.computeOutput, outputMs);
  }

  /** A copy. */
  read(nodeID: string): ModelStatistics {
    return structuredClone({
      ...this.#name,
      nodeID,
      lastInference: this.#lastInference,
      inferenceCount: this.#inferenceCount,
      executionCount: this.#executionCount,
      ...this.#totals,
      batches: [...this.#batches.values()].sort((a, b) => a.batchSize - b.batchSize),
    });
  }
}

/** `times` requests that took `ms` each. */
function add(duration: Duration, ms: number, times = 1): void {
  duration.count += times;
  duration.ns += Math.round(ms * NS_PER_MS) * times;
}
