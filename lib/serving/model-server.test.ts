import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { affineModel, ElementType, lookupModel, onnxModel } from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import { openStore } from "../store/open-store.ts";
import type { Store, StoreLocation } from "../store/store.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { systemClock } from "./clock.ts";
import { type ModelCatalog, ModelServer, type ModelServerOptions } from "./model-server.ts";
import { PredictionCache } from "./prediction-cache.ts";

let directory: string;
let location: StoreLocation;
let store: Store;
let registry: ModelRegistry;
let catalog: ModelCatalog;
let server: ModelServer;
const heard: string[] = [];
const counted: string[] = [];
const metrics = {
  increment: (name: string, labels: Record<string, string> = {}) =>
    void counted.push([name, ...Object.values(labels)].join(" ")),
  set() {},
  observe() {},
};

const newServer = (more: Partial<ModelServerOptions> = {}) =>
  new ModelServer({
    catalog: { records: () => catalog.records(), version: (...of) => catalog.version(...of) },
    location,
    pool: new InferencePool({ workers: 1, metrics }),
    policy: { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 100 },
    timeoutMs: 120_000,
    cache: new PredictionCache({ maxBytes: 1 << 20, ttlMs: 60_000, clock: systemClock, metrics }),
    clock: systemClock,
    metrics,
    onLoaded: (model, version) => void heard.push(`loaded ${model}/${version}`),
    onLoadFailed: (model, version, reason) => void heard.push(`failed ${model}/${version}: ${reason}`),
    ...more,
  });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-serving-"));
  location = { kind: "files", directory };
  store = await openStore(location);
  registry = new ModelRegistry(store.records, store.artifacts);
  catalog = {
    records: () => registry.list(),
    version: (model, version) => registry.version(model, String(version)),
  };
  heard.length = counted.length = 0;
  server = newServer();
});
afterEach(async () => {
  await server.drain(1000);
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

/** A model `y = scale * x + 1`. */
const publish = async (model: string, scale: number) => publishBytes(model, affineModel({ scale }));
const publishBytes = async (model: string, bytes: Uint8Array) =>
  (
    await registry.publish({
      model,
      artifacts: { onnx: await store.artifacts.put(bytes) },
      signature: { inputs: [], outputs: [] },
      labels: ["a", "b", "c"],
    })
  ).version;
const input = (
  data: Tensor["data"] = new Float32Array([1, 2, 3]),
  changes: Partial<Tensor> = {},
): Tensor => ({
  name: "x",
  datatype: "FP32",
  shape: [data.length / 3, 3],
  data,
  ...changes,
});
const ask = (changes: Partial<PredictRequest> = {}): PredictRequest => ({
  model: "m",
  inputs: [input()],
  ...changes,
});
const first = async (changes: Partial<PredictRequest> = {}) => {
  const { outputs, version } = await server.predict(ask(changes));
  return [version, (outputs[0]!.data as Float32Array)[0]];
};
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error("it succeeded");
    },
    (error: Error) => error,
  );

describe("which version answers", () => {
  it("is the production alias, else the newest; or the number or alias asked for", async () => {
    await publish("m", 10);
    await publish("m", 20);
    await server.sync();
    expect(await first()).toEqual(["2", 21]);
    await registry.setAlias("m", "production", 1);
    await registry.setAlias("m", "canary", 2);
    await server.sync();
    expect(await first()).toEqual(["1", 11]);
    expect(await first({ version: "2" })).toEqual(["2", 21]);
    expect(await first({ version: "canary" })).toEqual(["2", 21]);
  });

  it("finds a model that was published a moment ago, before any event told of it", async () => {
    await server.sync();
    await publish("m", 10);
    expect(errorType(await failure(server.predict(ask())))).toBe("MODEL_NOT_READY");
    await server.sync();
    expect(await first()).toEqual(["1", 11]);
  });

  it("names what is unknown and what there is", async () => {
    await publish("m", 10);
    await registry.setAlias("m", "production", 1);
    await server.sync();
    const noModel = await failure(server.predict(ask({ model: "n" })));
    expect([errorType(noModel), noModel.message]).toEqual([
      "MODEL_NOT_FOUND",
      "Request for unknown model: 'n' is not found",
    ]);
    for (const version of ["7", "beta", "01x", ""]) {
      const error = await failure(server.predict(ask({ version })));
      expect(errorType(error)).toBe("MODEL_VERSION_NOT_FOUND");
      expect(error.message).toContain("available: 1, production");
    }
    expect(counted).toContain("moiety.inference.request.total unknown MODEL_NOT_FOUND");
  });

  it("serves the two newest and what aliases point to, and unloads the rest", async () => {
    for (const scale of [10, 20, 30, 40]) await publish("m", scale);
    await registry.setAlias("m", "production", 1);
    await server.sync();
    expect((await server.metadata("m")).versions).toEqual(["1", "3", "4"]);
    expect(errorType(await failure(server.predict(ask({ version: "2" }))))).toBe("MODEL_NOT_READY");
    await registry.setAlias("m", "production", 2);
    await server.sync();
    expect((await server.metadata("m")).versions).toEqual(["2", "3", "4"]);
    expect(await first()).toEqual(["2", 21]);
  });

  it("stays the old one until the alias's new target is loaded, under load, without one failure", async () => {
    await publish("m", 10);
    await publish("m", 20);
    await publish("m", 30);
    await registry.setAlias("m", "production", 1);
    await server.sync();
    const seen = new Set<string>();
    let stop = false;
    const clients = Array.from({ length: 8 }, async () => {
      while (!stop) seen.add((await first({ cache: false })).join(" "));
    });
    await registry.setAlias("m", "production", 3);
    await publish("m", 40);
    await publish("m", 50);
    await server.sync();
    await registry.setAlias("m", "production", 5);
    await server.sync();
    stop = true;
    await Promise.all(clients);
    expect([...seen].every((answer) => ["1 11", "3 31", "5 51"].includes(answer))).toBe(true);
    expect(await first()).toEqual(["5", 51]);
    expect((await server.metadata("m")).versions).toEqual(["4", "5"]);
  });
});

describe("a version that does not load", () => {
  it("leaves the rest serving, says why, and is not tried over and over", async () => {
    await publish("m", 10);
    await publishBytes("m", new Uint8Array(50).fill(3));
    await server.sync();
    await server.sync();
    expect(await first()).toEqual(["1", 11]);
    const error = await failure(server.predict(ask({ version: "2" })));
    expect(errorType(error)).toBe("MODEL_NOT_READY");
    expect(error.message).toContain("protobuf parsing failed");
    expect(heard.toSorted()).toEqual([
      "failed m/2: Model 'm' version '2' cannot be loaded: Failed to load model because protobuf parsing failed.",
      "loaded m/1",
    ]);
    expect(await server.ready()).toEqual({ ready: true, reason: "serving m/1; could not load m/2" });
    expect(await server.ready("m", "2")).toMatchObject({ ready: false });
  });

  it("keeps the last good version answering for an alias that moved to it", async () => {
    await publish("m", 10);
    await registry.setAlias("m", "production", 1);
    await server.sync();
    await publishBytes("m", new Uint8Array(50));
    const bad = await publishBytes("m", new Uint8Array(60));
    await registry.setAlias("m", "production", bad);
    await server.sync();
    expect(await first()).toEqual(["1", 11]);
  });
});

describe("readiness", () => {
  it("is not kept by a model that cannot be loaded, unless it must be", async () => {
    const strict = newServer({ strictReadiness: true });
    try {
      await publish("m", 10);
      await publishBytes("m", new Uint8Array(50));
      for (const node of [server, strict]) {
        await node.sync();
        expect(await node.ready()).toEqual({ ready: true, reason: "serving m/1; could not load m/2" });
      }
      await publishBytes("n", new Uint8Array(50));
      for (const node of [server, strict]) await node.sync();
      expect(await server.ready()).toEqual({ ready: true, reason: "serving m/1; could not load m/2, n/1" });
      expect(await strict.ready()).toEqual({ ready: false, reason: "could not load m/2, n/1" });
      await publish("n", 10);
      await strict.sync();
      expect(await strict.ready()).toMatchObject({ ready: true });
      await registry.setLoaded("n", false);
      await strict.sync();
      expect(await strict.ready()).toMatchObject({ ready: true });
    } finally {
      await strict.drain(1000);
    }
  });

  it("comes with the first model; a node without models is up, not ready", async () => {
    expect((await server.ready()).reason).toBe("the registry has not been read yet");
    await server.sync();
    expect(await server.ready()).toEqual({ ready: false, reason: "no model has been published" });
    await publish("m", 10);
    await server.sync();
    expect(await server.ready()).toEqual({ ready: true, reason: "serving m/1" });
    expect(await server.ready("m")).toEqual({ ready: true, reason: "version 1 is loaded" });
    expect(errorType(await failure(server.ready("n")))).toBe("MODEL_NOT_FOUND");
  });

  it("waits for the first versions of a model, and not for those loaded beside one that answers", async () => {
    const { version } = catalog;
    let asked = Promise.withResolvers<void>();
    let granted = Promise.withResolvers<void>();
    catalog.version = async (...of) => {
      asked.resolve();
      await granted.promise;
      return version(...of);
    };
    const whileLoading = async () => {
      const synced = server.sync();
      await asked.promise;
      const readiness = await server.ready();
      granted.resolve();
      await synced;
      [asked, granted] = [Promise.withResolvers(), Promise.withResolvers()];
      return readiness;
    };
    await publish("m", 10);
    expect(await whileLoading()).toEqual({ ready: false, reason: "loading m/1" });
    await publish("m", 20);
    expect(await whileLoading()).toEqual({ ready: true, reason: "serving m/1; loading m/2" });
    await publish("n", 10);
    expect(await whileLoading()).toEqual({ ready: false, reason: "loading n/1" });
    expect((await server.ready()).ready).toBe(true);
  });

  it("survives a registry that does not answer, with what was loaded", async () => {
    await publish("m", 10);
    await server.sync();
    catalog = {
      records: () => Promise.reject(new Error("away")),
      version: () => Promise.reject(new Error("away")),
    };
    expect((await failure(server.sync())).message).toBe("away");
    expect(await first()).toEqual(["1", 11]);
    const error = await failure(server.predict(ask({ model: "n" })));
    expect([errorType(error), error.message]).toEqual([
      "MODEL_NOT_READY",
      "Model 'n' version 'latest' is not ready: the registry did not answer: away",
    ]);
  });

  it("ends with draining: requests in flight are answered, later ones refused", async () => {
    await publish("m", 10);
    await server.sync();
    const inFlight = Array.from({ length: 20 }, () => first({ cache: false }));
    const drained = server.drain(120_000);
    expect(errorType(await failure(server.predict(ask())))).toBe("DRAINING");
    expect(await Promise.all(inFlight)).toEqual(Array(20).fill(["1", 11]));
    await drained;
    expect((await server.ready()).ready).toBe(false);
  });
});

describe("a request that is wrong", () => {
  beforeEach(async () => {
    await publish("m", 10);
    await publishBytes("lookup", lookupModel(10));
    await publishBytes(
      "flag",
      onnxModel({
        inputs: [{ name: "x", type: ElementType.BOOL, shape: ["N", 3] }],
        outputs: [{ name: "y", type: ElementType.BOOL, shape: ["N", 3] }],
        nodes: [{ op: "Not", inputs: ["x"], outputs: ["y"] }],
      }),
    );
    await server.sync();
  });
  const index = (data: bigint[]): Tensor => ({
    name: "index",
    datatype: "INT64",
    shape: [data.length],
    data: new BigInt64Array(data),
  });
  const pair = (rows: number): Tensor => ({
    name: "x",
    datatype: "FP32",
    shape: [rows, 2],
    data: new Float32Array(rows * 2),
  });

  it.each<[string, Partial<PredictRequest>, string]>([
    ["no inputs", { inputs: [] }, 'Invalid inputs: received no inputs, expected an input "x"'],
    [
      "an unknown input",
      { inputs: [input(undefined, { name: "z" })] },
      'Invalid inputs[0].name: received "z", expected one of x',
    ],
    [
      "an input twice",
      { inputs: [input(), input()] },
      'Invalid inputs[1].name: received "x" a second time, expected every input once',
    ],
    [
      "a missing input",
      { model: "lookup", inputs: [pair(1)] },
      'Invalid inputs: received "x", expected an input "index"',
    ],
    [
      "another datatype",
      { inputs: [input(new Float64Array(3), { datatype: "FP64" })] },
      'Invalid inputs["x"].datatype: received FP64, expected FP32',
    ],
    [
      "the wrong array",
      { inputs: [input(new Float64Array(3))] },
      "Invalid inputs[0].data: received Float64Array, expected the array type of FP32",
    ],
    [
      "another shape",
      { inputs: [input(new Float32Array(4), { shape: [1, 4] })] },
      'Invalid inputs["x"].shape: received [1,4], expected [-1,3] (-1 is any size)',
    ],
    [
      "a length unlike the shape",
      { inputs: [input(new Float32Array(5), { shape: [2, 3] })] },
      "Invalid inputs[0].data: received 5 elements, expected 6 for shape [2,3]",
    ],
    [
      "no rows",
      { inputs: [input(new Float32Array(0), { shape: [0, 3] })] },
      'Invalid inputs["x"].shape: received [0,3], expected at least 1 in every dimension',
    ],
    [
      "NaN",
      { inputs: [input(new Float32Array([1, Number.NaN, 3]))] },
      'Invalid inputs["x"].data[1]: received NaN, expected a finite number',
    ],
    [
      "an infinity",
      { inputs: [input(new Float32Array([1, 2, 3, 4, 5, Number.NEGATIVE_INFINITY]))] },
      'Invalid inputs["x"].data[5]: received -Infinity, expected a finite number',
    ],
    [
      "rows that differ between inputs",
      { model: "lookup", inputs: [pair(3), index([1n, 2n])] },
      'Invalid inputs["x"].shape: received [3,2], expected 2 rows, as in input "index"',
    ],
    [
      "a flag that is neither",
      { model: "flag", inputs: [input(new Uint8Array([0, 1, 2]), { datatype: "BOOL" })] },
      'Invalid inputs["x"].data[2]: received 2, expected 0 or 1',
    ],
    ["an unknown output", { outputs: ["y", "q"] }, 'Invalid outputs[1]: received "q", expected one of y'],
    [
      "an output twice",
      { outputs: ["y", "y"] },
      'Invalid outputs[1]: received "y" a second time, expected every output at most once',
    ],
  ])("is refused for %s", async (_, changes, message) => {
    const error = await failure(server.predict(ask(changes)));
    expect([errorType(error), error.message]).toEqual(["INVALID_INPUT", message]);
  });

  it("is refused when it is no request at all", async () => {
    for (const [request, field] of [
      [undefined, "model"],
      [{ model: 5, inputs: [] }, "model"],
      [{ model: "m", version: 1, inputs: [] }, "version"],
      [{ model: "m", inputs: {} }, "inputs"],
      [{ model: "m", inputs: [null] }, "inputs[0]"],
      [{ model: "m", inputs: [], outputs: "y" }, "outputs"],
      [{ model: "m", inputs: [], cache: "no" }, "cache"],
    ] as const) {
      const error = await failure(server.predict(request as unknown as PredictRequest));
      expect(errorType(error)).toBe("INVALID_INPUT");
      expect((error as Error & { data: unknown }).data).toMatchObject({ field });
    }
  });

  it("takes inputs in any order", async () => {
    const { outputs } = await server.predict({ model: "lookup", inputs: [pair(2), index([4n, 5n])] });
    expect(outputs[0]!.data).toEqual(new Float32Array([4, -4, 5, -5]));
  });
});

describe("the cache on the way", () => {
  it("answers the same request again, and leaves out whoever does not want it", async () => {
    await publish("m", 10);
    await server.sync();
    expect((await server.predict(ask())).cached).toBe(false);
    expect(await server.predict(ask())).toMatchObject({
      cached: true,
      version: "1",
      outputs: [{ data: new Float32Array([11, 21, 31]) }],
    });
    expect((await server.predict(ask({ cache: false }))).cached).toBe(false);
    expect((await server.predict(ask({ outputs: ["y"] }))).cached).toBe(false);
  });

  it("never answers for another version", async () => {
    await publish("m", 10);
    await server.sync();
    expect(await first()).toEqual(["1", 11]);
    await publish("m", 20);
    await server.sync();
    expect(await first()).toEqual(["2", 21]);
    expect(await first({ version: "1" })).toEqual(["1", 11]);
  });
});

it("drains and frees a model that is unloaded, and loads it again", async () => {
  for (const scale of [10, 20, 30]) await publish("m", scale);
  await publish("n", 1);
  await registry.setAlias("m", "production", 1);
  await server.sync();
  const last = server.predict(ask({ cache: false }));
  await registry.setLoaded("m", false);
  await server.sync();
  expect((await last).version).toBe("1");
  for (const version of [undefined, "production", "3"]) {
    const error = await failure(server.predict(ask(version === undefined ? {} : { version })));
    expect(errorType(error)).toBe("MODEL_NOT_READY");
    expect(error.message).toContain("unloaded");
  }
  expect((await server.states()).map(({ model, version }) => `${model}/${version}`)).toEqual(["n/1"]);
  expect((await server.ready("m")).ready).toBe(false);
  expect((await server.ready()).ready).toBe(true);
  await registry.setLoaded("n", false);
  await server.sync();
  expect(await server.ready()).toEqual({ ready: false, reason: "no version is to be served" });
  await registry.setLoaded("m", true);
  await server.sync();
  expect(await first()).toEqual(["1", 11]);
  expect(await first({ version: "3" })).toEqual(["3", 31]);
});

it("counts what each version answered, from the cache and not", async () => {
  await publish("m", 10);
  await publish("m", 20);
  await publish("n", 30);
  await server.sync();
  await server.predict(ask());
  await server.predict(ask());
  await server.predict(ask({ cache: false }));
  await failure(server.predict(ask({ cache: false, timeoutMs: 1e-30 })));
  const [first, second, ...others] = await server.statistics("node");
  expect(others).toMatchObject([{ model: "n", version: "1", lastInference: 0, inferenceCount: 0 }]);
  expect(first).toMatchObject({ model: "m", version: "1", executionCount: 0 });
  expect(second).toMatchObject({
    model: "m",
    version: "2",
    nodeID: "node",
    inferenceCount: 2,
    executionCount: 2,
    success: { count: 3 },
    fail: { count: 1 },
    queue: { count: 2 },
    cacheHit: { count: 1 },
    cacheMiss: { count: 1 },
    batches: [{ batchSize: 1, computeInfer: { count: 2 } }],
  });
  expect(await server.statistics("node", "m", "2")).toEqual([second]);
  expect(await server.statistics("node", "m")).toEqual([first, second]);
  expect(errorType(await failure(server.statistics("node", "z")))).toBe("MODEL_NOT_FOUND");
  expect(errorType(await failure(server.statistics("node", "m", "9")))).toBe("MODEL_VERSION_NOT_FOUND");
});

describe("a model's configuration", () => {
  it("says which versions are loaded", async () => {
    for (const scale of [10, 20, 30, 40]) await publish("m", scale);
    await registry.setAlias("m", "old", 1);
    await server.sync();
    for (const [versions, loaded] of [
      [{ latest: 1 }, ["1", "4"]],
      [{ numbers: [2, 3, 9] }, ["1", "2", "3"]],
      ["all", ["1", "2", "3", "4"]],
      [undefined, ["1", "3", "4"]],
    ] as const) {
      await registry.configure("m", versions === undefined ? {} : { versions });
      await server.sync();
      expect((await server.metadata("m")).versions).toEqual(loaded);
    }
  });

  it("can keep predictions out of the cache", async () => {
    await publish("m", 10);
    await registry.configure("m", { cache: { enabled: false } });
    await server.sync();
    for (let i = 0; i < 2; i++) expect((await server.predict(ask())).cached).toBe(false);
    await registry.configure("m", {});
    await server.sync();
    expect((await server.predict(ask())).cached).toBe(false);
    expect((await server.predict(ask())).cached).toBe(true);
  });

  it("bounds the queue of versions that are loaded already, and the time in it", async () => {
    await publish("m", 10);
    await server.sync();
    await registry.configure("m", { queue: { maxRequests: 1 } });
    await server.sync();
    const answers = await Promise.allSettled([1, 2, 3].map(() => server.predict(ask({ cache: false }))));
    expect(answers.map((answer) => (answer.status === "rejected" ? errorType(answer.reason) : "ok"))).toEqual(
      ["ok", "QUEUE_FULL", "QUEUE_FULL"],
    );
  });
});

it("honours the caller's deadline and signal", async () => {
  await publish("m", 10);
  await server.sync();
  const caller = new AbortController();
  caller.abort();
  for (const cache of [true, false]) {
    expect(errorType(await failure(server.predict(ask({ cache }), { signal: caller.signal })))).toBe(
      "CANCELLED",
    );
    expect(errorType(await failure(server.predict(ask({ cache }), { deadlineMs: 0 })))).toBe(
      "DEADLINE_EXCEEDED",
    );
  }
  expect(errorType(await failure(server.predict(ask({ cache: false, timeoutMs: 1e-30 }))))).toBe(
    "DEADLINE_EXCEEDED",
  );
});

it.each([
  ["priority", -1],
  ["priority", 1.5],
  ["priority", "1"],
  ["timeoutMs", 0],
  ["timeoutMs", Number.NaN],
])("refuses %s %p", async (field, value) => {
  await publish("m", 10);
  await server.sync();
  const error = await failure(server.predict(ask({ [field]: value } as Partial<PredictRequest>)));
  expect(error).toMatchObject({ type: "INVALID_INPUT", data: { field, received: JSON.stringify(value) } });
});

describe("the states of versions", () => {
  it("are told per model: what is loaded, what failed and why, and what is unknown", async () => {
    await publish("m", 10);
    await publishBytes("m", new Uint8Array([1, 2, 3]));
    await publish("other", 10);
    await server.sync();
    const [good, bad, ...none] = await server.states("m");
    expect(none).toEqual([]);
    expect(good).toEqual({ model: "m", version: "1", state: "ready", reason: "" });
    expect(bad).toMatchObject({ model: "m", version: "2", state: "failed" });
    expect(bad!.reason).not.toBe("");
    expect(await server.states()).toHaveLength(3);
    expect(errorType(await failure(server.states("nosuch")))).toBe("MODEL_NOT_FOUND");
  });
});

describe("NaN and infinities", () => {
  it("are refused by name, and taken where the request says so", async () => {
    await publish("m", 10);
    await server.sync();
    const data = new Float32Array([Number.NaN, Number.NEGATIVE_INFINITY, 3]);
    const refused = await failure(server.predict(ask({ inputs: [input(data)] })));
    expect(refused.message).toContain('inputs["x"].data[0]');
    const { outputs } = await server.predict(ask({ inputs: [input(data)], nonFinite: true }));
    expect(Array.from(outputs[0]!.data as Float32Array)).toEqual([Number.NaN, Number.NEGATIVE_INFINITY, 31]);
  });
});
