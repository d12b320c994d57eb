/**
 * Predictions shared between processes through Redis. A cache, never a dependency: every failure is a miss and a
 * count on `moiety.cache.errors`, nothing is thrown. After a failure Redis is left alone for a second, then one
 * request tries again; so when it is away, a prediction waits for it at most once per second, and at most
 * `commandTimeoutMs`. Values carry a checksum; one that does not read back is a miss.
 */

import { Redis } from "ioredis";
import type { MetricSink } from "../protocol/metrics.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Clock } from "./clock.ts";
import { decodePrediction, encodePrediction } from "./prediction-codec.ts";

export type RedisCacheOptions = {
  url: string;
  /** Keeps clusters on one Redis apart. */
  namespace: string;
  ttlMs: number;
  clock: Clock;
  metrics: MetricSink;
  /** @default 100 */
  commandTimeoutMs?: number;
  /** How long Redis is left alone after a failure. @default 1000 */
  restMs?: number;
};

/** Writes nobody waits for; beyond this many in flight, further ones are left out. */
const MAX_WRITES_IN_FLIGHT = 256;
/** Larger answers cost more to move than to compute again. */
const MAX_VALUE_BYTES = 1024 * 1024;

export class RedisCache {
  readonly #redis: Redis;
  readonly #prefix: string;
  readonly #ttlMs: number;
  readonly #restMs: number;
  readonly #clock: Clock;
  readonly #metrics: MetricSink;
  /** Until then nothing is asked. */
  #restsUntil = Number.NEGATIVE_INFINITY;
  /** The last attempt failed: one request at a time may try again. */
  #ailing = false;
  #probing = false;
  #writes = 0;

  constructor(options: RedisCacheOptions) {
    const { url, namespace, ttlMs, clock, metrics, commandTimeoutMs = 100, restMs = 1000 } = options;
    this.#prefix = `${namespace}:prediction:`;
    this.#ttlMs = Math.max(1, Math.round(ttlMs));
    this.#restMs = restMs;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#redis = new Redis(url, {
      commandTimeout: commandTimeoutMs,
      connectTimeout: 1000,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 1000),
    });
    // Without a listener ioredis prints; what matters is counted where a request meets it.
    this.#redis.on("error", () => {});
  }

  /** Resolves when Redis answers or `timeoutMs` have passed; tells which. */
  async connected(timeoutMs: number): Promise<boolean> {
    if (this.#redis.status === "ready") return true;
    return new Promise((resolve) => {
      const settle = (ready: boolean) => {
        timer.cancel();
        this.#redis.off("ready", onReady);
        resolve(ready);
      };
      const onReady = () => settle(true);
      const timer = this.#clock.after(timeoutMs, () => settle(false));
      this.#redis.once("ready", onReady);
    });
  }

  /** Never rejects. The arrays belong to the caller. */
  async get(key: string): Promise<Tensor[] | undefined> {
    if (!this.#mayAsk()) return undefined;
    const encoded = await this.#attempt(this.#redis.getBuffer(this.#prefix + key));
    return encoded ? decodePrediction(encoded) : undefined;
  }

  /** Writes in the background; never throws. */
  put(key: string, tensors: readonly Tensor[], ttlMs = this.#ttlMs): void {
    if (this.#writes >= MAX_WRITES_IN_FLIGHT || !this.#mayAsk()) return;
    const encoded = encodePrediction(tensors);
    if (encoded.byteLength > MAX_VALUE_BYTES) {
      this.#probing = false;
      return;
    }
    this.#writes++;
    void this.#attempt(this.#redis.set(this.#prefix + key, encoded, "PX", ttlMs)).then(() => {
      this.#writes--;
    });
  }

  close(): void {
    this.#redis.disconnect();
  }

  #mayAsk(): boolean {
    if (this.#probing || this.#clock.now() < this.#restsUntil) return false;
    if (this.#redis.status !== "ready") {
      this.#failed();
      return false;
    }
    this.#probing = this.#ailing;
    return true;
  }

  async #attempt<T>(command: Promise<T>): Promise<T | undefined> {
    try {
      const value = await command;
      this.#ailing = false;
      return value;
    } catch {
      this.#failed();
      return undefined;
    } finally {
      this.#probing = false;
    }
  }

  #failed(): void {
    this.#metrics.increment("moiety.cache.errors", { tier: "redis" });
    this.#ailing = true;
    this.#restsUntil = this.#clock.now() + this.#restMs;
  }
}
