/**
 * The prediction cache: memory first, then Redis where there is one, then the model. Identical requests in flight
 * share one answer (and one failure, which is not kept); each waiter keeps its own deadline and its own way out, and
 * the computation is cancelled when the last waiter has gone.
 *
 * Ownership: whatever this hands out is shared with other readers. Callers read it; they never change it, and never
 * transfer its buffers.
 */

import { CancelledError, DeadlineExceededError } from "../errors.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SubmitOptions } from "./batcher.ts";
import type { Clock } from "./clock.ts";
import { Deadlines } from "./deadlines.ts";
import { MemoryCache } from "./memory-cache.ts";
import { Pending } from "./pending.ts";
import type { RedisCache } from "./redis-cache.ts";

export type CachedAnswer = { outputs: Tensor[]; cached: boolean };

/** What computes a missing answer; `signal` aborts when nobody waits for it any more. */
export type Compute = (signal: AbortSignal) => Promise<Tensor[]>;

export type PredictionCacheOptions = {
  maxBytes: number;
  ttlMs: number;
  clock: Clock;
  metrics: MetricSink;
  redis?: RedisCache | undefined;
};

export type AnswerOptions = SubmitOptions & {
  /** What is asked, for error messages. */
  what: string;
  /** How long the answer is kept, if it has to be computed. @default the cache's own */
  ttlMs?: number | undefined;
  /** Whose answer it is. */
  model: string;
  /** Most bytes of memory for this model's answers. @default what all share */
  maxBytes?: number | undefined;
};

type Flight = { waiters: Set<Pending<CachedAnswer>>; controller: AbortController };

export class PredictionCache {
  readonly #memory: MemoryCache;
  readonly #redis: RedisCache | undefined;
  readonly #flights = new Map<string, Flight>();
  readonly #deadlines: Deadlines;
  readonly #clock: Clock;
  readonly #metrics: MetricSink;

  constructor({ maxBytes, ttlMs, clock, metrics, redis }: PredictionCacheOptions) {
    this.#memory = new MemoryCache({ maxBytes, ttlMs, clock });
    this.#redis = redis;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#deadlines = new Deadlines(clock);
  }

  /**
   * The cached answer, or the one computed now.
   * @throws what `compute` throws; {DeadlineExceededError} {CancelledError} for this waiter alone
   */
  answer(key: string, compute: Compute, options: AnswerOptions): Promise<CachedAnswer> {
    const held = this.#memory.get(key);
    if (held) {
      this.#metrics.increment("moiety.cache.hits", { tier: "memory", model: options.model });
      return Promise.resolve({ outputs: held, cached: true });
    }
    const { what, deadlineMs = Number.POSITIVE_INFINITY, signal, model } = options;
    if (signal?.aborted) return Promise.reject(new CancelledError(what));
    if (deadlineMs <= 0) return Promise.reject(new DeadlineExceededError(what, deadlineMs));

    let flight = this.#flights.get(key);
    if (flight) this.#metrics.increment("moiety.cache.hits", { tier: "flight", model });
    else flight = this.#launch(key, compute, options);
    return this.#wait(key, flight, what, deadlineMs, signal);
  }

  close(): void {
    for (const { controller } of this.#flights.values()) controller.abort();
    this.#flights.clear();
    this.#deadlines.close();
    this.#redis?.close();
  }

  #launch(key: string, compute: Compute, options: AnswerOptions): Flight {
    const flight: Flight = { waiters: new Set(), controller: new AbortController() };
    this.#flights.set(key, flight);
    const land = (settle: (waiter: Pending<CachedAnswer>) => void) => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
      for (const waiter of [...flight.waiters]) settle(waiter);
    };
    this.#lookUpOrCompute(key, compute, options, flight.controller.signal).then(
      (answer) => land((waiter) => waiter.succeed(answer)),
      (error: Error) => land((waiter) => waiter.fail(error)),
    );
    return flight;
  }

  async #lookUpOrCompute(
    key: string,
    compute: Compute,
    { ttlMs, model, maxBytes }: AnswerOptions,
    signal: AbortSignal,
  ): Promise<CachedAnswer> {
    const keep = (outputs: readonly Tensor[]) => {
      this.#memory.put(key, outputs, { ttlMs, owner: model, ownerMaxBytes: maxBytes });
      this.#metrics.set("moiety.cache.bytes", this.#memory.bytesOf(model), { model });
    };
    if (this.#redis) {
      const shared = await this.#redis.get(key);
      if (shared) {
        this.#metrics.increment("moiety.cache.hits", { tier: "redis", model });
        keep(shared);
        return { outputs: shared, cached: true };
      }
    }
    this.#metrics.increment("moiety.cache.misses", { model });
    const outputs = await compute(signal);
    keep(outputs);
    this.#redis?.put(key, outputs, ttlMs);
    return { outputs, cached: false };
  }

  #wait(key: string, flight: Flight, what: string, deadlineMs: number, signal: AbortSignal | undefined) {
    return new Promise<CachedAnswer>((resolve, reject) => {
      const waiter = new Pending<CachedAnswer>(this.#clock.now() + deadlineMs, {
        resolve,
        reject,
        late: () => new DeadlineExceededError(what, deadlineMs),
        left: () => {
          this.#deadlines.delete(waiter);
          flight.waiters.delete(waiter);
          if (flight.waiters.size > 0 || this.#flights.get(key) !== flight) return;
          // The last one left before the answer came. Whoever asks from now on starts anew.
          this.#flights.delete(key);
          flight.controller.abort();
        },
      });
      flight.waiters.add(waiter);
      this.#deadlines.add(waiter);
      if (signal) waiter.abortOn(signal, () => new CancelledError(what));
    });
  }
}
