import { readModelConfiguration } from "./read-configuration.ts";

test("reads every field", () => {
  const configuration = {
    batching: { maxRows: 8, queueDelayMs: 0.5 },
    queue: { maxRequests: 10, timeoutMs: 100, priorityLevels: 4, defaultPriority: 4 },
    versions: { latest: 3 },
    cache: { enabled: false, ttlSeconds: 5 },
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
