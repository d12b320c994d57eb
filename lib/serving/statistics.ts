/** Keeps the statistics of one model version on this node: a few additions per request. */

import type { MetricSink } from "../protocol/metrics.ts";
import type { BatchStatistics, Duration, ModelStatistics, RunTimes } from "../protocol/statistics.ts";
import type { ModelName } from "../runtime/worker-pool.ts";

const NS_PER_MS = 1e6;
const none = (): Duration => ({ count: 0, ns: 0 });

export class VersionStatistics {
  readonly #name: ModelName;
  readonly #metrics: MetricSink | undefined;
  readonly #queueLabels: Record<string, string>;
  readonly #computeLabels: Record<string, string>;
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
  /** Failed requests by the type of their error. */
  readonly #failures = new Map<string, number>();
  /** By rows: as many as a batch may have. */
  readonly #batches = new Map<number, BatchStatistics>();
  #loadMs = 0;
  #lastInference = 0;
  #inferenceCount = 0;
  #executionCount = 0;

  /** @param metrics are told too how long requests wait and are computed. @default nothing is */
  constructor(name: ModelName, metrics?: MetricSink) {
    const { model, version } = name;
    this.#name = { model, version };
    this.#metrics = metrics;
    this.#queueLabels = { model, version, phase: "queue" };
    this.#computeLabels = { model, version, phase: "compute" };
  }

  /** The version was loaded and warmed, for the first time or anew. */
  loaded(tookMs: number): void {
    this.#loadMs = tookMs;
    this.#metrics?.observe("moiety.model.load.time", tookMs, { model: this.#name.model });
  }

  answered(tookMs: number): void {
    add(this.#totals.success, tookMs);
  }

  /** @param type of the error */
  failed(type: string, tookMs: number): void {
    add(this.#totals.fail, tookMs);
    this.#failures.set(type, (this.#failures.get(type) ?? 0) + 1);
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
    for (const ms of queuedMs) {
      add(queue, ms);
      this.#metrics?.observe("moiety.inference.phase.time", ms, this.#queueLabels);
    }
    const requests = queuedMs.length;
    add(computeInput, inputMs, requests);
    add(computeInfer, inferMs, requests);
    add(computeOutput, outputMs, requests);
    const computeMs = inputMs + inferMs + outputMs;
    this.#metrics?.observe("moiety.inference.phase.time", computeMs, this.#computeLabels, requests);
    let batch = this.#batches.get(rows);
    if (!batch) {
      batch = { batchSize: rows, computeInput: none(), computeInfer: none(), computeOutput: none() };
      this.#batches.set(rows, batch);
    }
    add(batch.computeInput, inputMs);
    add(batch.computeInfer, inferMs);
    add(batch.computeOutput, outputMs);
  }

  /** A copy. @param pending how many requests wait now */
  read(nodeID: string, pending = 0): ModelStatistics {
    return structuredClone({
      ...this.#name,
      nodeID,
      pending,
      loadMs: this.#loadMs,
      failures: Object.fromEntries(this.#failures),
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
