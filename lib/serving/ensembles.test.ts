/** Ensembles on one node, with real sessions; what they answer is compared with onnxruntime-node used by hand. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { affineModel, lookupModel, random } from "../../test/fixtures/onnx-models.ts";
import { EnsembleRegistry, MAX_DEPTH } from "../ensemble/ensemble-registry.ts";
import { errorType, UnavailableError } from "../errors.ts";
import type { EnsembleStep } from "../protocol/ensembles.ts";
import type { PredictRequest, PredictResponse } from "../protocol/inference.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { systemClock } from "./clock.ts";
import { ModelServer, type ModelServerOptions } from "./model-server.ts";
import { PredictionCache } from "./prediction-cache.ts";
import type { OtherNodes } from "./step-models.ts";

const metrics = { increment() {}, set() {}, observe() {} };
let directory: string;
let store: Store;
let registry: ModelRegistry;
let ensembles: EnsembleRegistry;
let server: ModelServer;
const others: { current: OtherNodes | undefined } = { current: undefined };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-ensembles-"));
  store = await openStore({ kind: "files", directory });
  registry = new ModelRegistry(store.records, store.artifacts);
  ensembles = new EnsembleRegistry(registry, store.artifacts);
  others.current = undefined;
  server = newServer();
});
afterEach(async () => {
  await server.drain(1000);
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const newServer = (changes: Partial<ModelServerOptions> = {}) =>
  new ModelServer({
    catalog: {
      records: () => registry.list(),
      version: (model, version) => registry.version(model, String(version)),
      ensemble: (model, version) => ensembles.read(model, version),
    },
    location: { kind: "files", directory },
    pool: new InferencePool({ workers: 1, metrics }),
    policy: { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 100 },
    timeoutMs: 120_000,
    otherNodes: {
      predict: (...step) => others.current?.predict(...step),
      serve: async (...of) => (await others.current?.serve(...of)) ?? false,
    },
    cache: new PredictionCache({ maxBytes: 1 << 20, ttlMs: 60_000, clock: systemClock, metrics }),
    clock: systemClock,
    metrics,
    ...changes,
  });

const spec = (name: string, shape = [-1, 3], datatype: TensorSpec["datatype"] = "FP32"): TensorSpec => ({
  name,
  datatype,
  shape,
});
const publishModel = async (model: string, bytes: Uint8Array, inputs = [spec("x")], outputs = [spec("y")]) =>
  registry.publish({
    model,
    artifacts: { onnx: await store.artifacts.put(bytes) },
    signature: { inputs, outputs },
    labels: [],
  });
/** `y = scale x + 1`. */
const publishAffine = (model: string, scale: number) => publishModel(model, affineModel({ scale }));
const step = (
  name: string,
  model: string,
  reads: string,
  writes: string,
  version?: string,
): EnsembleStep => ({
  name,
  model,
  inputs: { x: reads },
  outputs: { y: writes },
  ...(version !== undefined && { version }),
});
const publish = (model: string, steps: EnsembleStep[], inputs = [spec("x")], outputs = [spec("y")]) =>
  ensembles.publish({ model, ensemble: { inputs, outputs, steps } });
const floats = (name: string, values: number[], shape = [values.length / 3, 3]): Tensor => ({
  name,
  datatype: "FP32",
  shape,
  data: new Float32Array(values),
});
const ask = (model: string, values = [1, 2, 3], changes: Partial<PredictRequest> = {}): PredictRequest => ({
  model,
  inputs: [floats("x", values)],
  ...changes,
});
const valuesOf = ({ outputs }: PredictResponse) => [...(outputs[0]!.data as Float32Array)];
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error("it succeeded");
    },
    (error: Error) => error,
  );

const PIPELINE: EnsembleStep[] = [
  {
    name: "pre",
    operators: [
      { operator: "cast", inputs: ["image"], to: "FP32" },
      { operator: "normalize", mean: [1, 2, 3], std: [2, 3, 7], outputs: ["pixels"] },
    ],
  },
  step("a", "a", "pixels", "from a"),
  step("b", "b", "pixels", "from b"),
  {
    name: "combine",
    operators: [
      { operator: "mean", inputs: ["from a", "from b"], weights: [3, 1] },
      { operator: "softmax", outputs: ["scores"] },
    ],
  },
  { name: "decide", operators: [{ operator: "topK", k: 1, inputs: ["scores"], outputs: ["best", "at"] }] },
  {
    name: "name",
    operators: [{ operator: "lookUp", values: ["red", "green", "blue"], inputs: ["at"], outputs: ["label"] }],
  },
];
const PIPELINE_OUTPUTS = [
  spec("scores"),
  spec("best", [-1, 1]),
  spec("label", [-1, 1], "BYTES"),
  spec("at", [-1, 1], "INT64"),
];
const publishPipeline = () => publish("e", PIPELINE, [spec("image", [-1, 3], "UINT8")], PIPELINE_OUTPUTS);

describe("an ensemble", () => {
  it("answers bit for bit what its models give by hand", async () => {
    await publishAffine("a", 2);
    await publishAffine("b", -5);
    await publishPipeline();
    await server.sync();
    const sessions = await Promise.all(
      [2, -5].map((scale) => InferenceSession.create(affineModel({ scale }), { logSeverityLevel: 4 })),
    );
    const byHand = async (session: InferenceSession, data: Float32Array, rows: number) =>
      (await session.run({ x: new OrtTensor("float32", data, [rows, 3]) })).y!.data as Float32Array;
    for (const rows of [1, 2, 7, 20]) {
      const image = Uint8Array.from(random(rows, rows * 3, 127), (value) => value + 128);
      const { outputs, version, steps, cached } = await server.predict({
        model: "e",
        inputs: [{ name: "image", datatype: "UINT8", shape: [rows, 3], data: image }],
      });
      const f = Math.fround;
      const pixels = Float32Array.from(image, (value, i) =>
        f(f(value - [1, 2, 3][i % 3]!) / [2, 3, 7][i % 3]!),
      );
      const [a, b] = [await byHand(sessions[0]!, pixels, rows), await byHand(sessions[1]!, pixels, rows)];
      const mean = a.map((value, i) => f(f(value * f(0.75)) + f(b[i]! * f(0.25))));
      const [scores, best, label, at] = outputs;
      expect(outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))).toEqual(
        PIPELINE_OUTPUTS.map((output) => ({ ...output, shape: output.shape.with(0, rows) })),
      );
      for (let row = 0; row < rows; row++) {
        const three = [...mean.subarray(row * 3, row * 3 + 3)];
        const winner = three.indexOf(Math.max(...three));
        expect(at!.data[row]).toBe(BigInt(winner));
        expect(label!.data[row]).toBe(["red", "green", "blue"][winner]);
        expect(best!.data[row]).toBe(scores!.data[row * 3 + winner]);
      }
      // Softmax itself by the runtime, alone: its last bits are the kernel's own.
      const { nodes } = (await softmaxByHand(mean, rows))!;
      expect(scores!.data).toEqual(nodes);
      expect({ version, steps, cached }).toEqual({
        version: "1",
        steps: { a: "a/1", b: "b/1" },
        cached: false,
      });
    }
    for (const session of sessions) await session.release();
  });

  it("describes itself as one model, and says what its steps are", async () => {
    await publishAffine("a", 2);
    await publishAffine("b", -5);
    await publishPipeline();
    await server.sync();
    const metadata = await server.metadata("e");
    expect(metadata).toMatchObject({
      platform: "ensemble",
      version: "1",
      inputs: [spec("image", [-1, 3], "UINT8")],
      outputs: PIPELINE_OUTPUTS,
    });
    expect(metadata.steps).toEqual([
      { name: "pre", inputs: { image: "image" }, outputs: { pixels: "pixels" } },
      PIPELINE[1],
      PIPELINE[2],
      {
        name: "combine+decide+name",
        inputs: { "from a": "from a", "from b": "from b" },
        outputs: { scores: "scores", best: "best", at: "at", label: "label" },
      },
    ]);
    expect((await server.metadata("a")).steps).toBeUndefined();
    const [statistics] = await server.statistics("here", "e");
    expect(statistics).toMatchObject({ inferenceCount: 0, success: { count: 0 } });
    await server.predict({ model: "e", inputs: [{ ...floats("image", []), ...pixel() }] });
    expect((await server.statistics("here", "e"))[0]).toMatchObject({
      inferenceCount: 1,
      executionCount: 1,
      success: { count: 1 },
      pending: 0,
    });
    expect((await server.statistics("here", "a"))[0]).toMatchObject({ success: { count: 1 } });
  });

  it("refuses what does not fit its inputs and outputs, by name", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("s", "m", "x", "y")]);
    await server.sync();
    const wrong = await failure(server.predict({ model: "e", inputs: [floats("x", [1, 2], [1, 2])] }));
    expect(wrong.message).toContain('inputs["x"].shape: received [1,2], expected [-1,3]');
    expect((await failure(server.predict(ask("e", undefined, { outputs: ["z"] })))).message).toContain(
      "outputs[0]",
    );
  });

  it("gives only the outputs asked for, and runs only what they need", async () => {
    await publishAffine("m", 10);
    await publish(
      "e",
      [step("s", "m", "x", "y"), step("t", "gone", "x", "z")],
      [spec("x")],
      [spec("y"), spec("z")],
    );
    await server.sync();
    const answer = await server.predict(ask("e", undefined, { outputs: ["y"] }));
    expect(valuesOf(answer)).toEqual([11, 21, 31]);
    expect(answer.steps).toEqual({ s: "m/1" });
    const error = await failure(server.predict(ask("e")));
    expect([errorType(error), error.message]).toEqual([
      "MODEL_NOT_READY",
      "Step 't': Request for unknown model: 'gone' is not found",
    ]);
  });

  it("names the step that fails, and what came of it", async () => {
    await publishModel(
      "table",
      lookupModel(10),
      [spec("index", [-1], "INT64"), spec("x", [-1, 2])],
      [spec("row", [-1, 2]), spec("echo", [-1, 2])],
    );
    await ensembles.publish({
      model: "e",
      ensemble: {
        inputs: [spec("index", [-1], "INT64"), spec("x", [-1, 2])],
        outputs: [spec("row", [-1, 2])],
        steps: [
          { name: "look", model: "table", inputs: { index: "index", x: "x" }, outputs: { row: "row" } },
        ],
      },
    });
    await server.sync();
    const look = (...indices: number[]) =>
      server.predict({
        model: "e",
        inputs: [
          {
            name: "index",
            datatype: "INT64",
            shape: [indices.length],
            data: BigInt64Array.from(indices, BigInt),
          },
          floats("x", new Array(indices.length * 2).fill(0), [indices.length, 2]),
        ],
      });
    const [good, bad, other] = await Promise.allSettled([look(3), look(99), look(5)]);
    expect(good.status === "fulfilled" && valuesOf(good.value)).toEqual([3, -3]);
    expect(other.status === "fulfilled" && valuesOf(other.value)).toEqual([5, -5]);
    expect(bad.status === "rejected" && [errorType(bad.reason), bad.reason.message]).toEqual([
      "EXECUTION_FAILED",
      expect.stringContaining("Step 'look': Model 'table' version '1' failed"),
    ]);
    expect((await server.statistics("here", "e"))[0]).toMatchObject({ failures: { EXECUTION_FAILED: 1 } });
  });

  it("follows the aliases of its models, and keeps to the versions it pins", async () => {
    await publishAffine("m", 10);
    await publishAffine("m", 20);
    await registry.setAlias("m", "production", 1);
    await publish("e", [step("s", "m", "x", "y")]);
    await publish("pinned", [step("s", "m", "x", "y", "1")]);
    await server.sync();
    expect(valuesOf(await server.predict(ask("e")))).toEqual([11, 21, 31]);
    await registry.setAlias("m", "production", 2);
    await server.sync();
    const moved = await server.predict(ask("e"));
    expect([valuesOf(moved), moved.version, moved.steps]).toEqual([[21, 41, 61], "1", { s: "m/2" }]);
    expect(valuesOf(await server.predict(ask("pinned")))).toEqual([11, 21, 31]);
  });

  it("keeps loaded the versions that it pins, whatever their model's policy is", async () => {
    await publishAffine("m", 10);
    await publish("pinned", [step("s", "m", "x", "y", "1")]);
    await server.sync();
    for (const scale of [20, 30, 40]) {
      await publishAffine("m", scale);
      await server.sync();
    }
    expect((await server.states("m")).map(({ version }) => version).sort()).toEqual(["1", "3", "4"]);
    expect(valuesOf(await server.predict(ask("pinned")))).toEqual([11, 21, 31]);
    // Pinned before its model's policy had it loaded at all.
    await publish("late", [step("s", "m", "x", "y", "2")]);
    await server.sync();
    await server.sync();
    expect(valuesOf(await server.predict(ask("late")))).toEqual([21, 41, 61]);
    await registry.setLoaded("pinned", false);
    await server.sync();
    await server.sync();
    expect((await server.states("m")).map(({ version }) => version).sort()).toEqual(["2", "3", "4"]);
  });

  it("may be tried beside production as any version", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("s", "m", "x", "y")]);
    await publish("e", [step("s", "m", "x", "z"), step("t", "m", "z", "y")]);
    await registry.setAlias("e", "production", 1);
    await registry.rollOut("e", { canary: { version: 2, weight: 1 } });
    await server.sync();
    const answer = await server.predict(ask("e"));
    expect([answer.version, valuesOf(answer)]).toEqual(["2", [111, 211, 311]]);
  });

  it("is not cached itself; its models' predictions are", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("s", "m", "x", "y")]);
    await server.sync();
    await server.predict(ask("e"));
    expect((await server.predict(ask("e"))).cached).toBe(false);
    expect((await server.statistics("here", "m"))[0]).toMatchObject({
      cacheHit: { count: 1 },
      executionCount: 1,
    });
    await server.predict(ask("e", undefined, { cache: false }));
    expect((await server.statistics("here", "m"))[0]).toMatchObject({
      cacheHit: { count: 1 },
      executionCount: 2,
    });
  });

  it("may be a step of another; one that comes to itself is refused, as is one that lies too deep", async () => {
    await publishAffine("m", 10);
    await publish("e0", [step("s", "m", "x", "y")]);
    for (let i = 1; i < MAX_DEPTH; i++) await publish(`e${i}`, [step("s", `e${i - 1}`, "x", "y")]);
    await server.sync();
    expect(valuesOf(await server.predict(ask(`e${MAX_DEPTH - 1}`)))).toEqual([11, 21, 31]);
    const deeper = await failure(publish("deeper", [step("s", `e${MAX_DEPTH - 1}`, "x", "y")]));
    expect(deeper.message).toContain("ensembles more than 8 deep");
    // What an alias stands for may change later: then only a request can tell.
    await publish("loop", [step("s", "later", "x", "y")]);
    await publishAffine("later", 1);
    await registry.setAlias("later", "production", 1);
    await publish("later", [step("s", "loop", "x", "y")]);
    await registry.setAlias("later", "production", 2);
    await server.sync();
    const error = await failure(server.predict(ask("loop")));
    expect([errorType(error), error.message]).toEqual([
      "INVALID_MODEL",
      expect.stringContaining("it is a step of itself: loop/1 → later/2 → loop/1"),
    ]);
  });

  it("ends at its deadline, and when its caller leaves", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("here", "m", "x", "z"), step("far", "elsewhere", "z", "y")]);
    await server.sync();
    const signals: AbortSignal[] = [];
    others.current = {
      predict: (_, { signal }) => {
        signals.push(signal);
        return new Promise(() => {});
      },
      serve: async () => true,
    };
    const late = await failure(server.predict(ask("e", undefined, { timeoutMs: 50 })));
    expect(late.message).toBe("Ensemble 'e' version '1', in step 'far', did not finish within 50 ms");
    const caller = new AbortController();
    const left = failure(server.predict(ask("e"), { signal: caller.signal }));
    while (signals.length < 2) await new Promise(setImmediate);
    caller.abort();
    expect(errorType(await left)).toBe("CANCELLED");
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  it("asks other nodes for models that are not here, and says what is loaded nowhere", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("here", "m", "x", "z"), step("far", "elsewhere", "z", "y", "canary")]);
    await server.sync();
    expect(await server.ready("e")).toEqual({
      ready: false,
      reason: "model 'elsewhere' version 'canary' of step 'far' is not loaded on any node",
    });
    const asked: PredictRequest[] = [];
    others.current = {
      async predict(request) {
        asked.push(request);
        return {
          model: "elsewhere",
          version: "7",
          cached: false,
          outputs: [{ ...request.inputs[0]!, name: "y" }],
        };
      },
      serve: async (model, version) => model === "elsewhere" && version === "canary",
    };
    expect(await server.ready("e")).toEqual({ ready: true, reason: "version 1 is loaded" });
    const answer = await server.predict(ask("e", undefined, { priority: 3, affinity: "k", cache: false }));
    expect([valuesOf(answer), answer.steps]).toEqual([[11, 21, 31], { here: "m/1", far: "elsewhere/7" }]);
    expect(asked).toEqual([
      {
        model: "elsewhere",
        version: "canary",
        inputs: [floats("x", [11, 21, 31])],
        outputs: ["y"],
        priority: 3,
        affinity: "k",
        cache: false,
        nonFinite: true,
        within: ["e/1"],
      },
    ]);
    others.current = {
      predict: async () => {
        throw new UnavailableError("Node 'b'", "it is gone");
      },
      serve: async () => false,
    };
    const error = (await failure(server.predict(ask("e")))) as Error & { retryable: boolean };
    expect([error.message, error.retryable]).toEqual([
      "Step 'far': Node 'b' is not available: it is gone",
      true,
    ]);
  });

  it("loads once its models are known, where its operators have to know what these give", async () => {
    const steps: EnsembleStep[] = [
      step("m", "m", "x", "z"),
      { name: "post", operators: [{ operator: "relu", inputs: ["z"], outputs: ["y"] }] },
    ];
    await publish("e", steps);
    await server.sync();
    expect((await server.states("e"))[0]).toMatchObject({
      state: "failed",
      reason: expect.stringContaining("the type of tensor 'z' is not known"),
    });
    await publishAffine("m", -1);
    await server.sync();
    // Aliases are a reason to try again at once.
    await registry.setAlias("e", "production", 1);
    await server.sync();
    expect(valuesOf(await server.predict(ask("e", [-3, 0, 3])))).toEqual([4, 1, 0]);
  });

  it("takes no more requests at a time than its queue, and finishes those it has when the node drains", async () => {
    await publishAffine("m", 10);
    await publish("e", [step("first", "m", "x", "z"), step("then", "m", "z", "y")]);
    await registry.configure("e", { queue: { maxRequests: 5 } });
    await server.sync();
    const answers = Array.from({ length: 8 }, (_, i) => server.predict(ask("e", [i, i, i])));
    const drained = server.drain(30_000);
    const settled = await Promise.allSettled(answers);
    expect(
      settled.map((one) => (one.status === "fulfilled" ? valuesOf(one.value)[0] : errorType(one.reason))),
    ).toEqual([
      ...[0, 1, 2, 3, 4].map((i) => (i * 10 + 1) * 10 + 1),
      "QUEUE_FULL",
      "QUEUE_FULL",
      "QUEUE_FULL",
    ]);
    await drained;
  });

  it("loses no request while its model is replaced again and again, and cannot be now and then", async () => {
    await publishAffine("m", 10);
    await registry.setAlias("m", "production", 1);
    await registry.configure("m", { versions: { latest: 1 } });
    await publish("e", [step("s", "m", "x", "y")]);
    await server.sync();
    let stop = false;
    let answered = 0;
    const clients = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const { outputs, steps } = await server.predict(ask("e", [1, 0, 0], { cache: false }));
        const version = Number(steps!.s!.split("/")[1]);
        expect((outputs[0]!.data as Float32Array)[0]).toBe(version * 10 + 1);
        answered++;
      }
    });
    for (let i = 2; i <= 12; i++) {
      if (i % 3 === 0) await publishModel("m", new Uint8Array([i]));
      else await publishAffine("m", i * 10);
      await registry.setAlias("m", "production", i);
      await server.sync();
      const before = answered;
      while (answered < before + 20) await new Promise(setImmediate);
    }
    stop = true;
    await Promise.all(clients);
  });

  it("is unloaded with its operators, and loaded anew when its instances are configured otherwise", async () => {
    const pool = new InferencePool({ workers: 1, metrics });
    await server.drain(0);
    server = newServer({ pool });
    await publish("e", [{ name: "o", operators: [{ operator: "relu", inputs: ["x"], outputs: ["y"] }] }]);
    await server.sync();
    const held = () => pool.workers.flatMap(({ models }) => [...models]);
    expect(held()).toHaveLength(1);
    await registry.configure("e", { instances: { intraOpThreads: 2 } });
    await server.sync();
    await server.sync();
    expect(valuesOf(await server.predict(ask("e", [-1, 0, 1])))).toEqual([0, 0, 1]);
    expect(held()).toHaveLength(1);
    await registry.setLoaded("e", false);
    await server.sync();
    await server.sync();
    expect(held()).toEqual([]);
  });
});

const pixel = () => ({ datatype: "UINT8" as const, shape: [1, 3], data: new Uint8Array([1, 2, 3]) });

async function softmaxByHand(data: Float32Array, rows: number) {
  const { buildOperators } = await import("../ensemble/operator-graph.ts");
  const graph = buildOperators(
    [{ name: "s", operators: [{ operator: "softmax", inputs: ["x"], outputs: ["y"] }] }],
    [spec("x")],
  );
  const session = await InferenceSession.create(graph.model());
  const { y } = await session.run({ x: new OrtTensor("float32", data, [rows, 3]) });
  await session.release();
  return { nodes: y!.data as Float32Array };
}
