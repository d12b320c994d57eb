import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, until } from "../../test/fixtures/eventually.ts";
import { affineModel, lookupModel, randomStream } from "../../test/fixtures/onnx-models.ts";
import { StoreUnavailableError } from "../errors.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import { openStore } from "../store/open-store.ts";
import type { Store, StoreLocation } from "../store/store.ts";
import { systemClock } from "./clock.ts";
import { ModelServer } from "./model-server.ts";
import { PredictionCache } from "./prediction-cache.ts";
import type { FailedCanary } from "./rollout.ts";

let directory: string;
let store: Store;
let registry: ModelRegistry;
let server: ModelServer;
/** What the node asked the registry for; while `away`, it does not answer. */
let asked: FailedCanary[];
let away: boolean;
/** Versions whose record cannot be read. */
let unreadable: Set<number>;
let draw: number;
let skippedMs: number;
const clock = { ...systemClock, now: () => systemClock.now() + skippedMs };
const metrics = { increment() {}, set() {}, observe() {} };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-rollouts-"));
  const location: StoreLocation = { kind: "files", directory };
  store = await openStore(location);
  registry = new ModelRegistry(store.records, store.artifacts);
  asked = [];
  away = false;
  unreadable = new Set();
  draw = skippedMs = 0;
  server = new ModelServer({
    catalog: {
      records: () => registry.list(),
      version: async (model, version) => {
        if (unreadable.has(version)) throw new StoreUnavailableError("read", "it is away");
        return registry.version(model, String(version));
      },
    },
    location,
    pool: new InferencePool({ workers: 1, metrics }),
    policy: { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 100 },
    timeoutMs: 120_000,
    cache: new PredictionCache({ maxBytes: 1 << 20, ttlMs: 60_000, clock, metrics }),
    clock,
    metrics,
    random: () => draw,
    rollBack: async (canary) => {
      asked.push(canary);
      if (away) throw new StoreUnavailableError("write", "it is away");
      await registry.rollBack(canary.model, canary);
    },
  });
  for (const scale of [10, 20, 30, 40]) await publish("m", affineModel({ scale }));
  await registry.setAlias("m", "production", 1);
  await server.sync();
});
afterEach(async () => {
  await server.drain(1000);
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const publish = async (model: string, bytes: Uint8Array) =>
  registry.publish({
    model,
    artifacts: { onnx: await store.artifacts.put(bytes) },
    signature: { inputs: [], outputs: [] },
    labels: [],
  });
const answerOf = async (changes: Partial<PredictRequest> = {}) => {
  const data = new Float32Array([1, 2, 3]);
  const inputs = [{ name: "x", datatype: "FP32" as const, shape: [1, 3], data }];
  const { version, outputs } = await server.predict({ model: "m", inputs, ...changes });
  return `${version}: ${outputs[0]!.data[0]}`;
};
const loaded = async () => (await server.metadata("m")).versions;
const report = () => server.rollout("here", "m");

test("loads what is tried, and lets it go when it is tried no longer", async () => {
  expect(await loaded()).toEqual(["1", "3", "4"]);
  await registry.rollOut("m", { canary: { version: 2, weight: 1 } });
  await server.sync();
  expect(await loaded()).toEqual(["1", "2", "3", "4"]);
  expect(await answerOf()).toBe("2: 21");
  await registry.rollOut("m", {});
  await server.sync();
  expect(await loaded()).toEqual(["1", "3", "4"]);
  expect(await answerOf()).toBe("1: 11");
  expect(await report()).toEqual({ model: "m", nodeID: "here" });
});

test("asks the dice only for requests without a key, and production when they fall high", async () => {
  await registry.rollOut("m", { canary: { version: 2, weight: 0.5 } });
  await server.sync();
  draw = 0.499;
  expect(await answerOf()).toBe("2: 21");
  draw = 0.5;
  expect(await answerOf()).toBe("1: 11");
  const byKey = () => Promise.all(Array.from({ length: 50 }, (_, n) => answerOf({ affinity: `key ${n}` })));
  const first = await byKey();
  draw = 0;
  expect(await byKey()).toEqual(first);
  expect(new Set(first)).toEqual(new Set(["1: 11", "2: 21"]));
});

test("never mixes two versions up in the cache", async () => {
  await registry.rollOut("m", { canary: { version: 2, weight: 0.5 } });
  await server.sync();
  for (let n = 0; n < 20; n++) {
    draw = n % 2 === 0 ? 0.1 : 0.9;
    expect(await answerOf()).toBe(n % 2 === 0 ? "2: 21" : "1: 11");
  }
});

test("lets production answer while the canary is being loaded", async () => {
  await registry.rollOut("m", { canary: { version: 2, weight: 1 } });
  const synced = server.sync();
  const answers = new Set<string>();
  let done = false;
  void synced.finally(() => {
    done = true;
  });
  while (!done) answers.add(await answerOf({ cache: false }));
  await synced;
  expect(await answerOf()).toBe("2: 21");
  expect([...answers].every((answer) => answer === "1: 11" || answer === "2: 21")).toBe(true);
});

test("answers everything, each answer one version's own, while rollouts and aliases change under load", async () => {
  const random = randomStream(13);
  let answered = 0;
  let stop = false;
  const clients = Array.from({ length: 8 }, async (_, client) => {
    for (let n = 0; !stop; n++) {
      const value = 1 + ((client * 7 + n) % 50);
      const { version, outputs } = await server.predict({
        model: "m",
        cache: n % 3 === 0,
        ...(n % 2 === 0 && { affinity: `key ${client}` }),
        inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array(3).fill(value) }],
      });
      expect([...(outputs[0]!.data as Float32Array)]).toEqual(
        Array(3).fill(Number(version) * 10 * value + 1),
      );
      draw = random();
      answered++;
    }
  });
  const changes = async () => {
    for (let round = 0; round < 20; round++) {
      const [production, canary, shadow] = [1, 2, 3, 4].toSorted(() => random() - 0.5) as [
        number,
        number,
        number,
      ];
      await registry.rollOut("m", {});
      await registry.setAlias("m", "production", production);
      await registry.rollOut("m", { canary: { version: canary, weight: 0.5 }, shadow: { version: shadow } });
      await server.sync();
      if (round % 2 === 0) await registry.rollBack("m", { version: canary, reason: "by hand" });
      const seen = answered;
      await until(() => answered > seen + 20);
    }
    stop = true;
  };
  await Promise.all([...clients, changes()]);
});

test("gives a failing canary up at once, and asks for its roll-back until that is heard", async () => {
  for (const entries of [1000, 10]) await publish("table", lookupModel(entries));
  await registry.setAlias("table", "production", 1);
  const bounds = { errorRate: 0.1, minRequests: 3 };
  const { rollout } = await registry.rollOut("table", {
    canary: { version: 2, weight: 1, bounds },
    shadow: { version: 2 },
  });
  await server.sync();
  away = true;
  const answers: string[] = [];
  for (let n = 0; n < 6; n++)
    answers.push(
      (
        await server.predict({
          model: "table",
          cache: false,
          inputs: [
            { name: "index", datatype: "INT64", shape: [1], data: new BigInt64Array([500n]) },
            { name: "x", datatype: "FP32", shape: [1, 2], data: new Float32Array(2) },
          ],
        })
      ).version,
    );
  expect(answers).toEqual(Array(6).fill("1"));
  const wanted = { model: "table", version: 2, startedAt: rollout!.startedAt };
  expect(asked).toEqual([{ ...wanted, reason: expect.stringContaining("3 of 3 requests (100%) failed") }]);
  const { canary } = await server.rollout("here", "table");
  expect(canary).toMatchObject({
    requests: 3,
    failures: 3,
    answeredByProduction: 3,
    rollBack: asked[0]!.reason,
  });
  await server.sync();
  expect(asked).toHaveLength(2);
  away = false;
  await server.sync();
  await until(() => asked.length === 3);
  await server.sync();
  const record = await registry.get("table");
  expect(record.rollbacks).toHaveLength(1);
  const after = await server.rollout("here", "table");
  expect([after.canary, after.shadow?.version]).toEqual([undefined, 2]);
});

test("keeps what a shadow has seen when the canary beside it ends", async () => {
  await registry.rollOut("m", { canary: { version: 2, weight: 0.5 }, shadow: { version: 3 } });
  await server.sync();
  draw = 0.9;
  for (;;) {
    expect(await answerOf({ cache: false })).toBe("1: 11");
    const { differed } = (await report()).shadow!;
    if (differed > 0) break;
  }
  await registry.rollBack("m", { version: 2, reason: "by hand" });
  await server.sync();
  expect((await report()).canary).toBeUndefined();
  expect((await report()).shadow!.differed).toBeGreaterThan(0);
});

test("gives a canary up that cannot be loaded, and gives a passing cause three attempts", async () => {
  unreadable.add(2);
  await registry.rollOut("m", { canary: { version: 2, weight: 1 } });
  await server.sync();
  expect(asked).toEqual([]);
  expect((await report()).canary).toMatchObject({ state: "failed", reason: expect.stringContaining("away") });
  for (let attempt = 2; attempt <= 3; attempt++) {
    expect(asked).toEqual([]);
    skippedMs += 60_000;
    await server.sync();
    expect(await answerOf({ cache: false })).toBe("1: 11");
  }
  expect(asked[0]!.reason).toMatch(/^it could not be loaded: /);
  await eventually(async () => (await registry.get("m")).rollout === undefined || undefined);
});

test("knows no rollout of a model that there is not", async () => {
  await expect(server.rollout("here", "nosuch")).rejects.toMatchObject({ type: "MODEL_NOT_FOUND" });
});
