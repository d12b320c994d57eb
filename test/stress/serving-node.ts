/**
 * One node's data plane without a broker, for stress suites: a real store, a real registry, real worker threads. The
 * registry is read when the suite says so, which makes what happens a matter of order.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelRegistry } from "../../lib/registry/model-registry.ts";
import { InferencePool } from "../../lib/runtime/worker-pool.ts";
import type { BatchPolicy } from "../../lib/serving/batcher.ts";
import { systemClock } from "../../lib/serving/clock.ts";
import { ModelServer } from "../../lib/serving/model-server.ts";
import { PredictionCache } from "../../lib/serving/prediction-cache.ts";
import { openStore } from "../../lib/store/open-store.ts";

export type ServingNode = {
  registry: ModelRegistry;
  server: ModelServer;
  pool: InferencePool;
  /** `loaded m/1` or `failed m/1`, in order. */
  heard: string[];
  /** @returns the version's number */
  publish(model: string, bytes: Uint8Array): Promise<number>;
  close(): Promise<void>;
};

export type ServingNodeOptions = { workers: number; policy: BatchPolicy };

/** Long enough for any machine: these suites prove who gets what, not how fast. */
const TIMEOUT_MS = 120_000;
const DRAIN_MS = 30_000;
const CACHE_BYTES = 1 << 20;
const METRICS = { increment() {}, set() {}, observe() {} };

export async function openServingNode({ workers, policy }: ServingNodeOptions): Promise<ServingNode> {
  const directory = await mkdtemp(join(tmpdir(), "moiety-stress-"));
  const location = { kind: "files", directory } as const;
  const store = await openStore(location);
  const registry = new ModelRegistry(store.records, store.artifacts);
  const pool = new InferencePool({ workers, metrics: METRICS });
  const heard: string[] = [];
  const cached = { maxBytes: CACHE_BYTES, ttlMs: TIMEOUT_MS, clock: systemClock, metrics: METRICS };
  const server = new ModelServer({
    catalog: {
      records: () => registry.list(),
      version: (model, version) => registry.version(model, String(version)),
    },
    location,
    pool,
    policy,
    timeoutMs: TIMEOUT_MS,
    cache: new PredictionCache(cached),
    clock: systemClock,
    metrics: METRICS,
    onLoaded: (model, version) => void heard.push(`loaded ${model}/${version}`),
    onLoadFailed: (model, version) => void heard.push(`failed ${model}/${version}`),
  });
  return {
    registry,
    server,
    pool,
    heard,
    async publish(model, bytes) {
      const onnx = await store.artifacts.put(bytes);
      const signature = { inputs: [], outputs: [] };
      return (await registry.publish({ model, artifacts: { onnx }, signature, labels: [] })).version;
    },
    async close() {
      await server.drain(DRAIN_MS);
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
