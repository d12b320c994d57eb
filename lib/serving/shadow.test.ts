import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { ExecutionError } from "../errors.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import type { Capacity } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SubmitOptions } from "./batcher.ts";
import type { ReadyVersion } from "./served-model.ts";
import { Shadow, type ShadowOptions } from "./shadow.ts";

const floats = (...data: number[]): Tensor => ({
  name: "x",
  datatype: "FP32",
  shape: [1, data.length],
  data: new Float32Array(data),
});
const spec = { name: "x", datatype: "FP32" as const, shape: [-1, 2] };

type Run = { inputs: readonly Tensor[]; options: SubmitOptions; answer: PromiseWithResolvers<Tensor[]> };

let clock: FakeClock;
let capacity: Capacity;
let listeners: (() => void)[];
let runs: Run[];
let counted: string[];
let loaded: boolean;

const version = {
  name: { model: "m", version: "2" },
  instance: { model: "m", version: "2" },
  number: 2,
  loaded: { batchable: true, signature: { inputs: [spec], outputs: [spec] } },
  labels: ["a", "b"],
  batcher: {
    submit(inputs: readonly Tensor[], _: unknown, options: SubmitOptions) {
      const answer = Promise.withResolvers<Tensor[]>();
      runs.push({ inputs, options, answer });
      return answer.promise;
    },
  },
} as unknown as ReadyVersion;

beforeEach(() => {
  clock = new FakeClock();
  capacity = "idle";
  listeners = [];
  runs = [];
  counted = [];
  loaded = true;
});

const shadowOf = (settings: object = {}, options: Partial<ShadowOptions> = {}) =>
  new Shadow({
    model: "m",
    shadow: { version: 2, ...settings },
    ready: () => (loaded ? version : undefined),
    runner: { capacity: () => capacity, onRoom: (listener) => void listeners.push(listener) },
    clock,
    random: randomStream(1),
    metrics: {
      increment: (name, labels) => void counted.push([name, ...Object.values(labels ?? {})].join(" ")),
      set() {},
      observe() {},
    },
    timeoutMs: 5000,
    ...options,
  });
const request = (...inputs: Tensor[]): PredictRequest => ({ model: "m", inputs });
const answered = (input: Tensor, output: Tensor) => ({
  request: request(input),
  outputs: [output],
  tookMs: 10,
});
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("runs a copy, behind everything else, and compares its answer", async () => {
  const shadow = shadowOf();
  shadow.mirror(answered(floats(1, 2), floats(3, 4)));
  clock.skip(20);
  runs[0]!.answer.resolve([floats(3, 4)]);
  await turn();
  shadow.mirror(answered(floats(1, 2), floats(3, 4)));
  runs[1]!.answer.resolve([floats(3, 2.5)]);
  await turn();
  expect(runs[0]!.options).toEqual({ deadlineMs: 5000, priority: Number.MAX_SAFE_INTEGER });
  const report = shadow.report();
  expect(report).toMatchObject({
    version: 2,
    share: 1,
    matched: 1,
    differed: 1,
    failed: 0,
    dropped: 0,
    classesDiffered: 1,
    maxDifference: 1.5,
    lastFailure: "",
  });
  expect(report.p95Ms.shadow! / 20).toBeCloseTo(1, 1);
  expect(report.p95Ms.production! / 10).toBeCloseTo(1, 1);
  expect(counted).toEqual([
    "moiety.rollout.shadow.requests m matched",
    "moiety.rollout.shadow.requests m differed",
  ]);
});

test("runs what production was given, although the caller has changed it since, Buffers too", () => {
  const bytes = Buffer.from([1, 2]);
  const input: Tensor = { name: "x", datatype: "UINT8", shape: [1, 2], data: bytes };
  version.loaded.signature.inputs[0] = { ...spec, datatype: "UINT8" };
  capacity = "room";
  const shadow = shadowOf();
  shadow.mirror(answered(input, floats(1)));
  bytes.fill(9);
  input.shape[0] = 7;
  capacity = "idle";
  for (const listener of listeners.splice(0)) listener();
  version.loaded.signature.inputs[0] = spec;
  expect(runs[0]!.inputs[0]).toMatchObject({ shape: [1, 2], data: new Uint8Array([1, 2]) });
});

test("waits until a worker is idle, and runs one copy at a time", async () => {
  capacity = "room";
  const shadow = shadowOf();
  for (let n = 0; n < 3; n++) shadow.mirror(answered(floats(n, n), floats(n)));
  expect([runs.length, listeners.length]).toEqual([0, 1]);
  for (const listener of listeners.splice(0)) listener();
  expect([runs.length, listeners.length]).toEqual([0, 1]);
  capacity = "idle";
  for (const listener of listeners.splice(0)) listener();
  expect(runs.map(({ inputs }) => inputs[0]!.data[0])).toEqual([0]);
  for (let n = 0; n < 3; n++) {
    expect(runs).toHaveLength(n + 1);
    runs[n]!.answer.resolve([floats(n)]);
    await turn();
  }
  expect(shadow.report().matched).toBe(3);
});

test("drops and counts what finds no room, by copies and by bytes, and goes on later", async () => {
  const shadow = shadowOf({}, { maxCopies: 2, maxBytes: 20 });
  for (let n = 0; n < 5; n++) shadow.mirror(answered(floats(n, n), floats(n)));
  expect(shadow.report().dropped).toBe(3);
  runs[0]!.answer.resolve([floats(0)]);
  await turn();
  shadow.mirror({ request: request(floats(1, 2), floats(1, 2)), outputs: [], tookMs: 1 });
  expect(shadow.report().dropped).toBe(4);
  shadow.mirror(answered(floats(7, 7), floats(7)));
  expect(shadow.report().dropped).toBe(4);
});

test("counts what fails, with why, and what the shadow does not take", async () => {
  const shadow = shadowOf();
  shadow.mirror(answered(floats(1, 2), floats(1)));
  runs[0]!.answer.reject(new ExecutionError("Model 'm' version '2'", "out of range"));
  await turn();
  expect(shadow.report()).toMatchObject({ failed: 1, lastFailure: expect.stringContaining("out of range") });
  shadow.mirror(answered(floats(1, 2, 3), floats(1)));
  await turn();
  expect(shadow.report()).toMatchObject({ failed: 2, lastFailure: expect.stringContaining("shape") });
  expect(shadow.report().p95Ms).toEqual({ shadow: null, production: null });
});

test("copies the share that is asked for", async () => {
  const shadow = shadowOf({ share: 0.2 }, { maxCopies: 10_000 });
  for (let n = 0; n < 10_000; n++) {
    shadow.mirror(answered(floats(1, 2), floats(1)));
    runs.at(-1)?.answer.resolve([floats(1)]);
    await Promise.resolve();
  }
  for (let settled = -1; settled < runs.length; ) {
    settled = runs.length;
    runs.at(-1)!.answer.resolve([floats(1)]);
    await turn();
  }
  // Five standard deviations.
  expect(Math.abs(runs.length - 2000)).toBeLessThan(5 * 40);
});

test("copies nothing while its version is not loaded, and drops what waits when that goes", () => {
  loaded = false;
  const shadow = shadowOf();
  shadow.mirror(answered(floats(1, 2), floats(1)));
  expect([runs.length, shadow.report().dropped]).toEqual([0, 0]);
  loaded = true;
  capacity = "none";
  shadow.mirror(answered(floats(1, 2), floats(1)));
  loaded = false;
  for (const listener of listeners.splice(0)) listener();
  expect([runs.length, shadow.report().dropped]).toEqual([0, 1]);
});

test("copies and counts nothing once it has ended", async () => {
  const shadow = shadowOf();
  shadow.mirror(answered(floats(1, 2), floats(1)));
  shadow.mirror(answered(floats(1, 2), floats(1)));
  shadow.close();
  runs[0]!.answer.resolve([floats(2)]);
  await turn();
  shadow.mirror(answered(floats(1, 2), floats(1)));
  expect(runs).toHaveLength(1);
  expect(counted).toEqual([]);
});
