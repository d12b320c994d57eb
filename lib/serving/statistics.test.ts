import { affineModel } from "../../test/fixtures/onnx-models.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Batcher } from "./batcher.ts";
import { systemClock } from "./clock.ts";
import { VersionStatistics } from "./statistics.ts";

const metrics = { increment() {}, set() {}, observe() {} };
const name = { model: "m", version: "1" };

test("adds up what requests and batches took", () => {
  const observed: unknown[] = [];
  const sink = { ...metrics, observe: (...what: unknown[]) => void observed.push(what) };
  const statistics = new VersionStatistics(name, sink);
  statistics.loaded(7);
  statistics.answered(2);
  statistics.answered(3);
  statistics.failed("QUEUE_FULL", 1.5);
  statistics.lookedUp(true, 0.25);
  statistics.lookedUp(false, 4);
  statistics.ran(3, [1, 2], { inputMs: 0.5, inferMs: 4, outputMs: 0.25 });
  statistics.ran(3, [0], { inputMs: 0.5, inferMs: 2, outputMs: 0.25 });
  statistics.ran(1, [5], { inputMs: 1, inferMs: 1, outputMs: 1 });
  const time = "moiety.inference.phase.time";
  expect(observed.slice(0, 4)).toEqual([
    ["moiety.model.load.time", 7, { model: "m" }],
    [time, 1, { ...name, phase: "queue" }],
    [time, 2, { ...name, phase: "queue" }],
    [time, 4.75, { ...name, phase: "compute" }, 2],
  ]);
  expect(statistics.read("here", 5)).toEqual({
    ...name,
    nodeID: "here",
    pending: 5,
    loadMs: 7,
    failures: { QUEUE_FULL: 1 },
    lastInference: expect.any(Number),
    inferenceCount: 7,
    executionCount: 3,
    success: { count: 2, ns: 5e6 },
    fail: { count: 1, ns: 1.5e6 },
    queue: { count: 4, ns: 8e6 },
    computeInput: { count: 4, ns: 2.5e6 },
    computeInfer: { count: 4, ns: 11e6 },
    computeOutput: { count: 4, ns: 1.75e6 },
    cacheHit: { count: 1, ns: 0.25e6 },
    cacheMiss: { count: 1, ns: 4e6 },
    batches: [
      {
        batchSize: 1,
        computeInput: { count: 1, ns: 1e6 },
        computeInfer: { count: 1, ns: 1e6 },
        computeOutput: { count: 1, ns: 1e6 },
      },
      {
        batchSize: 3,
        computeInput: { count: 2, ns: 1e6 },
        computeInfer: { count: 2, ns: 6e6 },
        computeOutput: { count: 2, ns: 0.5e6 },
      },
    ],
  });
});

test("counts real batches and their requests", async () => {
  const pool = new InferencePool({ workers: 1, metrics });
  try {
    const model = await pool.load(name, { bytes: affineModel({ scale: 2 }) });
    const statistics = new VersionStatistics(name);
    const policy = { maxBatchRows: 4, queueDelayMs: 1, maxQueue: 10 };
    const batcher = new Batcher({
      name,
      model,
      runner: pool,
      policy,
      clock: systemClock,
      metrics,
      statistics,
    });
    const input: Tensor = { name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array(3) };
    await Promise.all([1, 2, 3, 4].map(() => batcher.submit([input], undefined)));
    await batcher.drain(1000);
    const read = statistics.read("here");
    expect(read).toMatchObject({ inferenceCount: 4, executionCount: 1, queue: { count: 4 } });
    expect(read.batches.map(({ batchSize }) => batchSize)).toEqual([4]);
    expect(read.computeInfer.ns).toBeGreaterThan(0);
  } finally {
    await pool.close();
  }
});
