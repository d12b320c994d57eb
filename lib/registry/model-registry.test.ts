import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rejection } from "../../test/contracts/store-contract.ts";
import type { Evaluation, Lineage } from "../protocol/models.ts";
import { openStore } from "../store/open-store.ts";
import type { ArtifactRef, Store } from "../store/store.ts";
import { ModelRegistry, type Publication } from "./model-registry.ts";

const directory = await mkdtemp(join(tmpdir(), "moiety-registry-"));
let stores = 0;
let store: Store;
let registry: ModelRegistry;
let onnx: ArtifactRef;
let facts: object[];

beforeEach(async () => {
  store = await openStore({ kind: "files", directory: join(directory, String(stores++)) });
  registry = new ModelRegistry(store.records, store.artifacts, {
    now: () => Date.parse("2030-01-01T00:00:00Z"),
    onPublished: (fact) => facts.push(fact),
    onAliasMoved: (fact) => facts.push(fact),
    onConfigured: (fact) => facts.push(fact),
  });
  facts = [];
  onnx = await store.artifacts.put(new Uint8Array([1, 2, 3]));
});
afterEach(() => store.close());
afterAll(() => rm(directory, { recursive: true, force: true }));

function scored(accuracy: number): Evaluation {
  return {
    kind: "classification",
    examples: 10,
    loss: 1 - accuracy,
    accuracy,
    macro: { precision: accuracy, recall: accuracy, f1: accuracy },
    perClass: [],
    confusionMatrix: [],
  };
}

function publication(change: Partial<Publication> = {}): Publication {
  return {
    model: "mnist",
    artifacts: { onnx },
    signature: {
      inputs: [{ name: "image", datatype: "UINT8", shape: [-1, 28, 28] }],
      outputs: [{ name: "probabilities", datatype: "FP32", shape: [-1, 10] }],
    },
    labels: ["0", "1"],
    ...change,
  };
}

test("knows no model before one is published", async () => {
  expect(await registry.list()).toEqual([]);
  await expect(registry.get("mnist")).rejects.toMatchObject({
    type: "MODEL_NOT_FOUND",
    data: { model: "mnist" },
  });
  for (const name of ["../x", "", "a/b", "toString"])
    expect(await rejection(registry.version(name))).toBe("MODEL_NOT_FOUND");
});

test("numbers versions from one and gives each back as it was published", async () => {
  const first = await registry.publish(publication({ metrics: scored(0.9) }));
  expect(first).toEqual({
    ...publication({ metrics: scored(0.9) }),
    version: 1,
    createdAt: "2030-01-01T00:00:00.000Z",
  });
  const second = await registry.publish(publication());
  expect(second.version).toBe(2);
  expect(await registry.version("mnist", "1")).toEqual(first);
  expect(await registry.get("mnist")).toEqual({
    model: "mnist",
    createdAt: first.createdAt,
    versions: [1, 2],
    latestVersion: 2,
    aliases: {},
  });
});

test("answers with the production version when none is named, else with the latest", async () => {
  for (let n = 0; n < 11; n++) await registry.publish(publication());
  expect((await registry.version("mnist")).version).toBe(11);
  await registry.setAlias("mnist", "production", 2);
  expect((await registry.version("mnist")).version).toBe(2);
  expect((await registry.version("mnist", "production")).version).toBe(2);
  expect((await registry.get("mnist")).versions).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test("says which version it does not have and which ones it has", async () => {
  await registry.publish(publication());
  await registry.setAlias("mnist", "canary", 1);
  for (const version of ["2", "0", "01", "1.0", "-1", "staging", "constructor", "", "../1"])
    await expect(registry.version("mnist", version)).rejects.toMatchObject({
      type: "MODEL_VERSION_NOT_FOUND",
      data: { model: "mnist", version, available: [1, "canary"] },
    });
});

test("keeps how a model is served beside its aliases, whoever changes which at once", async () => {
  await registry.publish(publication());
  await registry.publish(publication());
  facts.length = 0;
  await Promise.all([
    registry.configure("mnist", { batching: { maxRows: 4 } }),
    registry.setAlias("mnist", "production", 1),
    registry.setAlias("mnist", "canary", 2),
  ]);
  expect(await registry.get("mnist")).toMatchObject({
    aliases: { production: 1, canary: 2 },
    configuration: { batching: { maxRows: 4 } },
  });
  expect(facts).toContainEqual({ model: "mnist" });
  const { configuration } = await registry.configure("mnist", { cache: { enabled: false } });
  expect(configuration).toEqual({ cache: { enabled: false } });
  expect(await rejection(registry.configure("other", {}))).toBe("MODEL_NOT_FOUND");
  expect(await rejection(registry.configure("mnist", { batch: {} }))).toBe("INVALID_INPUT");
});

test("takes a model out of service and back in, and leaves the rest of its record", async () => {
  await registry.publish(publication());
  await registry.setAlias("mnist", "production", 1);
  await registry.configure("mnist", { versions: "all" });
  const kept = { versions: [1], aliases: { production: 1 }, configuration: { versions: "all" } };
  expect(await registry.setLoaded("mnist", false)).toMatchObject({ ...kept, unloaded: true });
  expect(await registry.get("mnist")).toMatchObject({ ...kept, unloaded: true });
  expect(await registry.setLoaded("mnist", true)).toMatchObject({ ...kept, unloaded: false });
  expect(await rejection(registry.setLoaded("other", true))).toBe("MODEL_NOT_FOUND");
});

test("gives twenty concurrent publishers twenty different versions", async () => {
  const versions = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      new ModelRegistry(store.records, store.artifacts).publish(publication({ labels: [String(n)] })),
    ),
  );
  expect(versions.map(({ version }) => version).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 20 }, (_, n) => n + 1),
  );
  for (const version of versions)
    expect(await registry.version("mnist", String(version.version))).toEqual(version);
});

test("refuses to publish what is not stored", async () => {
  const missing = { digest: `sha256:${"0".repeat(64)}`, size: 1 };
  for (const artifacts of [{ onnx: missing }, { onnx, checkpoint: missing }])
    await expect(registry.publish(publication({ artifacts }))).rejects.toMatchObject({
      type: "ARTIFACT_NOT_FOUND",
      data: { digest: missing.digest },
    });
  expect(
    await rejection(registry.publish(publication({ artifacts: { onnx: { digest: "x", size: 1 } } }))),
  ).toBe("INVALID_INPUT");
  expect(await registry.list()).toEqual([]);
});

test("publishes one version per training job, however often the job comes back", async () => {
  const lineage = { jobId: "job1", seed: 0 } as Lineage;
  const first = await registry.publish(publication({ lineage }));
  await registry.publish(publication());
  expect(await registry.publish(publication({ lineage, labels: ["other"] }))).toEqual(first);
  expect((await registry.get("mnist")).versions).toEqual([1, 2]);
});

test("refuses names that are none", async () => {
  for (const model of ["", ".a", "-a", "a b", "a/b", "..", "ä", "a".repeat(65), "a\n"])
    await expect(registry.publish(publication({ model }))).rejects.toMatchObject({
      type: "INVALID_INPUT",
      data: { field: "model", received: JSON.stringify(model) },
    });
  await registry.publish(publication());
  for (const alias of ["", "1", "12", "Production", "a_b", "-a", "a".repeat(33), "__proto__"])
    await expect(registry.setAlias("mnist", alias, 1)).rejects.toMatchObject({
      type: "INVALID_INPUT",
      data: { field: "alias" },
    });
  for (const model of ["A", "a..b", "0", "a.b-c_d", "a".repeat(64)])
    expect((await registry.publish(publication({ model }))).version).toBe(1);
});

test("moves aliases only to versions that exist, and loses none of many moves at once", async () => {
  await registry.publish(publication());
  await registry.publish(publication());
  expect(await rejection(registry.setAlias("mnist", "canary", 3))).toBe("MODEL_VERSION_NOT_FOUND");
  expect(await rejection(registry.setAlias("other", "canary", 1))).toBe("MODEL_NOT_FOUND");
  const aliases = Array.from({ length: 10 }, (_, n) => `alias-${n}`);
  await Promise.all(aliases.map((alias, n) => registry.setAlias("mnist", alias, (n % 2) + 1)));
  expect((await registry.get("mnist")).aliases).toEqual(
    Object.fromEntries(aliases.map((alias, n) => [alias, (n % 2) + 1])),
  );
  expect((await registry.setAlias("mnist", "alias-0", 2)).aliases["alias-0"]).toBe(2);
});

test("promotes a version that scores no worse, and says why it does not promote another", async () => {
  const publish = async (metrics?: Evaluation) =>
    (await registry.publish(publication(metrics ? { metrics } : {}))).version;
  const unscored = await publish();
  const good = await publish(scored(0.98));
  const worse = await publish(scored(0.97));
  const equal = await publish(scored(0.98));
  const promote = async (version: number) => {
    const { promoted, reason, record } = await registry.promote("mnist", version);
    return { promoted, reason, production: record.aliases.production };
  };
  expect(await promote(unscored)).toMatchObject({ promoted: true, production: unscored });
  expect(await promote(good)).toMatchObject({ promoted: true, production: good });
  expect(await promote(worse)).toEqual({
    promoted: false,
    reason: "it scores worse: accuracy 0.97 against 0.98 of version 2 in production",
    production: good,
  });
  expect(await promote(unscored)).toMatchObject({ promoted: false, production: good });
  expect(await promote(equal)).toMatchObject({ promoted: true, production: equal });
  expect(await promote(equal)).toMatchObject({ promoted: true, production: equal });
  expect(await rejection(registry.promote("mnist", 9))).toBe("MODEL_VERSION_NOT_FOUND");
  expect((await registry.get("mnist")).aliases).toEqual({ production: equal });
});

test("lets the best of many versions promoted at once end in production", async () => {
  const accuracies = [0.91, 0.99, 0.95, 0.97, 0.93, 0.98];
  for (const accuracy of accuracies) await registry.publish(publication({ metrics: scored(accuracy) }));
  await Promise.all(accuracies.map((_, n) => registry.promote("mnist", n + 1)));
  expect((await registry.get("mnist")).aliases.production).toBe(2);
});

test("hides a model whose first publication was cut short, and takes the next one", async () => {
  await store.records.create("models/mnist", { model: "mnist", createdAt: "2029", aliases: {} });
  expect(await registry.list()).toEqual([]);
  expect(await rejection(registry.get("mnist"))).toBe("MODEL_NOT_FOUND");
  expect((await registry.publish(publication())).version).toBe(1);
  expect(await registry.list()).toMatchObject([{ model: "mnist", createdAt: "2029", versions: [1] }]);
});

test("lists models by name and keeps those apart that look alike", async () => {
  for (const model of ["b", "a", "A", "a.b"]) await registry.publish(publication({ model }));
  await registry.publish(publication({ model: "a" }));
  expect((await registry.list()).map(({ model, versions }) => [model, versions])).toEqual([
    ["A", [1]],
    ["a", [1, 2]],
    ["a.b", [1]],
    ["b", [1]],
  ]);
});

test("tells of what was published and of aliases that did move", async () => {
  await registry.publish(publication({ metrics: scored(0.9) }));
  await registry.publish(publication({ metrics: scored(0.8) }));
  await registry.promote("mnist", 1);
  await registry.promote("mnist", 1);
  await registry.promote("mnist", 2);
  await registry.setAlias("mnist", "production", 1);
  await registry.setAlias("mnist", "production", 2);
  expect(facts).toEqual([
    { model: "mnist", version: 1 },
    { model: "mnist", version: 2 },
    { model: "mnist", alias: "production", version: 1 },
    { model: "mnist", alias: "production", version: 2 },
  ]);
});

describe("publishing under a given number", () => {
  test("keeps the number, and the next free one comes after it", async () => {
    const seventh = await registry.publishAs(publication(), 7);
    expect(seventh.version).toBe(7);
    expect((await registry.publish(publication())).version).toBe(8);
    expect((await registry.publishAs(publication(), 2)).version).toBe(2);
    expect((await registry.get("mnist")).versions).toEqual([2, 7, 8]);
  });

  test("gives the version that is there when the same file comes again, and tells nobody", async () => {
    const first = await registry.publishAs(publication(), 3);
    facts = [];
    expect(await registry.publishAs(publication({ labels: ["other"] }), 3)).toEqual(first);
    expect(facts).toEqual([]);
  });

  test("refuses another file under a number that is taken", async () => {
    await registry.publishAs(publication(), 3);
    const other = await store.artifacts.put(new Uint8Array([4, 5]));
    await expect(registry.publishAs(publication({ artifacts: { onnx: other } }), 3)).rejects.toMatchObject({
      type: "INVALID_INPUT",
      message: expect.stringContaining("versions never change"),
    });
    expect((await registry.version("mnist", "3")).artifacts.onnx).toEqual(onnx);
  });

  test("serves the first version of a new model as configured, and leaves an older configuration alone", async () => {
    await registry.publishAs(publication(), 1, { batching: { maxRows: 4 } });
    expect((await registry.get("mnist")).configuration).toEqual({ batching: { maxRows: 4 } });
    await registry.publishAs(publication(), 2, { batching: { maxRows: 8 } });
    expect((await registry.get("mnist")).configuration).toEqual({ batching: { maxRows: 4 } });
  });
});
