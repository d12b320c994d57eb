import { readModelConfiguration } from "./read-configuration.ts";

test("reads every field", () => {
  const configuration = {
    batching: { maxRows: 8, queueDelayMs: 0.5 },
    queue: { maxRequests: 10, timeoutMs: 100, priorityLevels: 4, defaultPriority: 4, whenFull: "delay" },
    instances: { workers: 2, intraOpThreads: 4 },
    provider: "webgpu",
    warmup: [
      {},
      {
        rows: 8,
        count: 3,
        inputs: {
          x: { values: "random" },
          ids: { shape: [2, 1], values: [1, -2] },
          mask: { values: [true, false] },
          text: { values: ["a", ""] },
        },
      },
    ],
    labels: ["cat", "dog"],
    versions: { latest: 3 },
    cache: { enabled: false, ttlSeconds: 5, maxBytes: 0 },
  };
  expect(readModelConfiguration(configuration)).toEqual(configuration);
  expect(readModelConfiguration({})).toEqual({});
  expect(readModelConfiguration({ versions: "all" })).toEqual({ versions: "all" });
  expect(readModelConfiguration({ versions: { numbers: [1, 4] } })).toEqual({
    versions: { numbers: [1, 4] },
  });
});

test.each([
  ["configuration", null],
  ["configuration", []],
  ["configuration", "{}"],
  ["configuration.batch", { batch: {} }],
  ["configuration.constructor", { constructor: {} }],
  ["configuration.batching", { batching: 5 }],
  ["configuration.batching.rows", { batching: { rows: 1 } }],
  ["configuration.batching.toString", { batching: { toString: 1 } }],
  ["configuration.batching.maxRows", { batching: { maxRows: 0 } }],
  ["configuration.batching.maxRows", { batching: { maxRows: 1.5 } }],
  ["configuration.batching.queueDelayMs", { batching: { queueDelayMs: Number.NaN } }],
  ["configuration.queue.timeoutMs", { queue: { timeoutMs: "5" } }],
  ["configuration.queue.defaultPriority", { queue: { defaultPriority: 17 } }],
  ["configuration.queue.defaultPriority", { queue: { priorityLevels: 2, defaultPriority: 3 } }],
  ["configuration.queue.whenFull", { queue: { whenFull: "wait" } }],
  ["configuration.instances.workers", { instances: { workers: 0 } }],
  ["configuration.instances.threads", { instances: { threads: 1 } }],
  ["configuration.provider", { provider: "gpu" }],
  ["configuration.provider", { provider: ["cpu"] }],
  ["configuration.warmup", { warmup: {} }],
  ["configuration.warmup", { warmup: Array(17).fill({}) }],
  ["configuration.warmup[1]", { warmup: [{}, null] }],
  ["configuration.warmup[0].row", { warmup: [{ row: 1 }] }],
  ["configuration.warmup[0].count", { warmup: [{ count: 1001 }] }],
  ["configuration.warmup[0].inputs", { warmup: [{ inputs: [] }] }],
  ['configuration.warmup[0].inputs["x"].values', { warmup: [{ inputs: { x: {} } }] }],
  ['configuration.warmup[0].inputs["x"].values', { warmup: [{ inputs: { x: { values: [1, "2"] } } }] }],
  ['configuration.warmup[0].inputs["x"].values', { warmup: [{ inputs: { x: { values: [null] } } }] }],
  [
    'configuration.warmup[0].inputs["x"].shape',
    { warmup: [{ inputs: { x: { shape: [0], values: "zeros" } } }] },
  ],
  ["configuration.labels", { labels: "cat" }],
  ["configuration.labels[1]", { labels: ["cat", 2] }],
  ["configuration.cache.maxBytes", { cache: { maxBytes: -1 } }],
  ["configuration.versions", { versions: { latest: 0 } }],
  ["configuration.versions", { versions: { latest: 1, numbers: [1] } }],
  ["configuration.versions", { versions: { numbers: ["1"] } }],
  ["configuration.versions", { versions: { newest: 1 } }],
  ["configuration.versions", { versions: null }],
  ["configuration.cache.enabled", { cache: { enabled: "no" } }],
])("refuses a wrong %s", (field, value) => {
  expect(() => readModelConfiguration(value)).toThrow(
    expect.objectContaining({ type: "INVALID_INPUT", data: expect.objectContaining({ field }) }),
  );
});
