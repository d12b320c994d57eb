import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../test/fixtures/eventually.ts";
import { affineModel } from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import { openStore } from "../store/open-store.ts";
import type { Store, StoreLocation } from "../store/store.ts";
import { systemClock } from "./clock.ts";
import { ModelServer } from "./model-server.ts";

let directory: string;
let store: Store;
let registry: ModelRegistry;
let pool: InferencePool;
let server: ModelServer;
const failures: string[] = [];
const metrics = { increment() {}, set() {}, observe() {} };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-instances-"));
  const location: StoreLocation = { kind: "files", directory };
  store = await openStore(location);
  registry = new ModelRegistry(store.records, store.artifacts);
  pool = new InferencePool({ workers: 2, metrics });
  failures.length = 0;
  server = new ModelServer({
    catalog: {
      records: () => registry.list(),
      version: (model, version) => registry.version(model, String(version)),
    },
    location,
    pool,
    policy: { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 10_000 },
    timeoutMs: 120_000,
    clock: systemClock,
    metrics,
    onLoadFailed: (_model, _version, reason) => void failures.push(reason),
  });
  await registry.publish({
    model: "m",
    artifacts: { onnx: await store.artifacts.put(affineModel()) },
    signature: { inputs: [], outputs: [] },
    labels: ["a", "b", "c"],
  });
  await server.sync();
});
afterEach(async () => {
  await server.drain(1000);
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const configure = async (configuration: ModelConfiguration) => {
  await registry.configure("m", configuration);
  await server.sync();
};
const ask = async (value: number, rows = 1) => {
  const data = new Float32Array(rows * 3).fill(value);
  const inputs = [{ name: "x", datatype: "FP32" as const, shape: [rows, 3], data }];
  const { outputs } = await server.predict({ model: "m", inputs });
  return [...(outputs[0]!.data as Float32Array)];
};
/** How many models each worker holds. */
const held = () => pool.workers.map(({ models }) => models.size).sort();

test("a changed configuration makes the version anew beside the old and loses no request", async () => {
  expect(held()).toEqual([1, 1]);
  let stop = false;
  let answered = 0;
  const client = async (value: number) => {
    // Every fifth brings more rows than a batch takes, and goes through in parts.
    for (let i = 0; !stop; i++) {
      const rows = i % 5 === 0 ? 20 : 1;
      expect(await ask(value, rows)).toEqual(new Array(rows * 3).fill(2 * value + 1));
      answered++;
    }
  };
  const clients = Promise.all([1, 2, 3, 4].map(client));
  const configurations: [ModelConfiguration, number[]][] = [
    [{ instances: { workers: 1 } }, [0, 1]],
    [{ instances: { workers: 2, intraOpThreads: 2 } }, [1, 1]],
    [{ warmup: [{ rows: 8, count: 2, inputs: { x: { values: "random" } } }] }, [1, 1]],
    [{}, [1, 1]],
  ];
  try {
    for (const [configuration, holders] of configurations) {
      await configure(configuration);
      // Once what it replaced is gone too.
      await until(() => String(held()) === String(holders));
      const before = answered;
      await until(() => answered >= before + 20);
    }
  } finally {
    stop = true;
    await clients;
  }
  expect(failures).toEqual([]);
  const [statistics] = await server.statistics("node", "m");
  expect(statistics).toMatchObject({ success: { count: answered }, fail: { count: 0 } });
});

test("what cannot be followed leaves the version as it was, and is said until it is taken back", async () => {
  await configure({ warmup: [{ inputs: { z: { values: "zeros" } } }] });
  expect(failures).toEqual([
    "Loading model 'm' failed: its warmup[0] failed: the model has no input \"z\", but x",
  ]);
  expect(await ask(1)).toEqual([3, 3, 3]);
  const [state] = await server.states("m");
  expect(state).toMatchObject({ state: "ready", reason: expect.stringContaining('no input "z"') });
  // Not tried again at once.
  await server.sync();
  expect(failures).toHaveLength(1);
  await configure({});
  expect((await server.states("m"))[0]).toMatchObject({ state: "ready", reason: "" });
  await until(() => String(held()) === "1,1");
});

test("a version that could not be loaded is tried again once the configuration changes", async () => {
  await configure({ versions: { latest: 1 }, warmup: [{ inputs: { z: { values: "zeros" } } }] });
  await registry.publish({
    model: "m",
    artifacts: { onnx: await store.artifacts.put(affineModel({ scale: 10 })) },
    signature: { inputs: [], outputs: [] },
    labels: [],
  });
  await server.sync();
  expect((await server.states("m")).find(({ version }) => version === "2")).toMatchObject({
    state: "failed",
    reason: expect.stringContaining('no input "z"'),
  });
  expect(await ask(1)).toEqual([3, 3, 3]);
  await configure({ versions: { latest: 1 } });
  expect(await ask(1)).toEqual([11, 11, 11]);
});

test("labels of the configuration take the place of those a version was published with, at once", async () => {
  expect((await server.metadata("m")).labels).toEqual(["a", "b", "c"]);
  await configure({ labels: ["x", "y"] });
  expect((await server.metadata("m")).labels).toEqual(["x", "y"]);
  await configure({});
  expect((await server.metadata("m")).labels).toEqual(["a", "b", "c"]);
});

test("an unload while the version is made anew wins", async () => {
  await registry.configure("m", { instances: { workers: 1 } });
  const syncing = server.sync();
  await registry.setLoaded("m", false);
  await syncing;
  await server.sync();
  await until(() => String(held()) === "0,0");
  expect(errorType(await ask(1).then(String, (error: unknown) => error))).toBe("MODEL_NOT_READY");
});
