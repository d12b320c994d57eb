import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { ModelRegistry } from "./model-registry.ts";

let directory: string;
let store: Store;
let registry: ModelRegistry;
let now: number;
const heard: unknown[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-rollout-"));
  store = await openStore({ kind: "files", directory });
  now = Date.UTC(2030, 0, 1);
  heard.length = 0;
  registry = new ModelRegistry(store.records, store.artifacts, {
    now: () => now,
    onRolledOut: (fact) => void heard.push(fact),
    onRolledBack: (fact) => void heard.push(fact),
  });
  const onnx = await store.artifacts.put(new Uint8Array([1]));
  for (let n = 0; n < 3; n++)
    await registry.publish({
      model: "m",
      artifacts: { onnx },
      signature: { inputs: [], outputs: [] },
      labels: [],
    });
  await registry.setAlias("m", "production", 1);
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const canary = { version: 2, weight: 0.1, bounds: { errorRate: 0.05, minRequests: 20 } };
const shadow = { version: 3, share: 0.5, tolerance: 0.001 };
const startedAt = "2030-01-01T00:00:00.000Z";

test("keeps a canary and a shadow in the model's record, with when they were set", async () => {
  const record = await registry.rollOut("m", { canary, shadow });
  expect(record.rollout).toEqual({ canary, shadow, startedAt });
  expect((await registry.get("m")).rollout).toEqual({ canary, shadow, startedAt });
  expect(heard).toEqual([{ model: "m" }]);
});

test("goes on with a rollout that is set as it is, and begins anew with one that differs", async () => {
  await registry.rollOut("m", { canary });
  now += 1000;
  expect((await registry.rollOut("m", { canary })).rollout?.startedAt).toBe(startedAt);
  const changed = await registry.rollOut("m", { canary: { ...canary, weight: 0.2 } });
  expect(changed.rollout?.startedAt).toBe("2030-01-01T00:00:01.000Z");
});

test("ends what is not named any more", async () => {
  await registry.rollOut("m", { canary, shadow });
  expect((await registry.rollOut("m", { shadow })).rollout).toEqual({ shadow, startedAt });
  await registry.rollOut("m", {});
  expect((await registry.get("m")).rollout).toBeUndefined();
});

test("takes a canary back once, and remembers what and why", async () => {
  await registry.rollOut("m", { canary, shadow });
  now += 60_000;
  const first = await registry.rollBack("m", { version: 2, startedAt, reason: "30% failed" });
  expect(first.rolledBack).toBe(true);
  expect((await registry.rollBack("m", { version: 2, reason: "again" })).rolledBack).toBe(false);
  const { rollout, rollbacks, aliases } = await registry.get("m");
  expect(rollout).toEqual({ shadow, startedAt });
  expect(rollbacks).toEqual([{ version: 2, at: "2030-01-01T00:01:00.000Z", reason: "30% failed" }]);
  expect(aliases).toEqual({ production: 1 });
  expect(heard.slice(1)).toEqual([{ model: "m", version: 2, reason: "30% failed" }]);
});

test("does not take back another canary than the one meant, nor a later rollout of the same version", async () => {
  await registry.rollOut("m", { canary });
  expect((await registry.rollBack("m", { version: 3, reason: "late" })).rolledBack).toBe(false);
  now += 1000;
  await registry.rollOut("m", { canary: { ...canary, weight: 1 } });
  expect((await registry.rollBack("m", { version: 2, startedAt, reason: "late" })).rolledBack).toBe(false);
  expect((await registry.get("m")).rollout?.canary?.weight).toBe(1);
});

test("of many nodes that take the same canary back, one does", async () => {
  await registry.rollOut("m", { canary });
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, n) => registry.rollBack("m", { version: 2, startedAt, reason: `${n}` })),
  );
  expect(answers.filter(({ rolledBack }) => rolledBack)).toHaveLength(1);
  expect((await registry.get("m")).rollbacks).toHaveLength(1);
});

test("remembers the last ten roll-backs", async () => {
  for (let n = 1; n <= 12; n++) {
    await registry.rollOut("m", { canary });
    await registry.rollBack("m", { version: 2, reason: `${n}` });
  }
  const { rollbacks } = await registry.get("m");
  expect(rollbacks?.map(({ reason }) => reason)).toEqual(Array.from({ length: 10 }, (_, n) => `${n + 3}`));
});

test("ends the canary, or the shadow, that production moves to", async () => {
  await registry.rollOut("m", { canary, shadow });
  await registry.setAlias("m", "production", 2);
  expect((await registry.get("m")).rollout).toEqual({ shadow, startedAt });
  await registry.setAlias("m", "other", 3);
  expect((await registry.get("m")).rollout).toEqual({ shadow, startedAt });
  await registry.setAlias("m", "production", 3);
  expect((await registry.get("m")).rollout).toBeUndefined();
});

test.each([
  [[], "rollout", "[]"],
  [{ canari: {} }, "rollout.canari", "a field that is not known"],
  [{ canary: 2 }, "rollout.canary", "2"],
  [{ canary: { version: 2 } }, "rollout.canary.weight", "nothing"],
  [{ canary: { weight: 0.5 } }, "rollout.canary.version", "nothing"],
  [{ canary: { version: "2", weight: 0.5 } }, "rollout.canary.version", '"2"'],
  [{ canary: { version: 2, weight: 0 } }, "rollout.canary.weight", "0"],
  [{ canary: { version: 2, weight: 1.1 } }, "rollout.canary.weight", "1.1"],
  [{ canary: { version: 2, weight: 1, startedAt: "" } }, "rollout.canary.startedAt", "not known"],
  [{ canary: { version: 2, weight: 1, bounds: 1 } }, "rollout.canary.bounds", "1"],
  [{ canary: { version: 2, weight: 1, bounds: { errors: 1 } } }, "rollout.canary.bounds.errors", "not known"],
  [{ canary: { version: 2, weight: 1, bounds: { errorRate: 2 } } }, "rollout.canary.bounds.errorRate", "2"],
  [
    { canary: { version: 2, weight: 1, bounds: { latencyRatio: 0.5 } } },
    "rollout.canary.bounds.latencyRatio",
    "0.5",
  ],
  [
    { canary: { version: 2, weight: 1, bounds: { minRequests: 0 } } },
    "rollout.canary.bounds.minRequests",
    "0",
  ],
  [{ canary: { version: 1, weight: 1 } }, "rollout.canary.version", "1"],
  [{ shadow: {} }, "rollout.shadow.version", "nothing"],
  [{ shadow: { version: 2, share: 0 } }, "rollout.shadow.share", "0"],
  [{ shadow: { version: 2, tolerance: -1 } }, "rollout.shadow.tolerance", "-1"],
  [{ shadow: { version: 1 } }, "rollout.shadow.version", "1"],
])("refuses %j by name", async (rollout, field, received) => {
  const error = (await registry.rollOut("m", rollout).catch((failure: unknown) => failure)) as {
    type: string;
    data: { field: string; received: string };
  };
  expect([error.type, error.data.field]).toEqual(["INVALID_INPUT", field]);
  expect(error.data.received).toContain(received);
});

test("refuses versions that there are not, and models without a production version", async () => {
  await expect(registry.rollOut("m", { canary: { version: 9, weight: 1 } })).rejects.toMatchObject({
    type: "MODEL_VERSION_NOT_FOUND",
  });
  await expect(registry.rollOut("n", {})).rejects.toMatchObject({ type: "MODEL_NOT_FOUND" });
  const onnx = await store.artifacts.put(new Uint8Array([1]));
  await registry.publish({
    model: "n",
    artifacts: { onnx },
    signature: { inputs: [], outputs: [] },
    labels: [],
  });
  await expect(registry.rollOut("n", { canary: { version: 1, weight: 1 } })).rejects.toMatchObject({
    type: "INVALID_INPUT",
    message: expect.stringContaining("production"),
  });
});
