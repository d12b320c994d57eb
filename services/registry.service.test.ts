import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Context, ServiceBroker } from "moleculer";
import { readConfig } from "../lib/config.ts";
import { openStore } from "../lib/store/open-store.ts";
import type { ArtifactRef } from "../lib/store/store.ts";
import { callOf } from "../mixins/config.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { rejection } from "../test/contracts/store-contract.ts";
import registry from "./registry.service.ts";

const directory = await mkdtemp(join(tmpdir(), "moiety-registry-service-"));
const dataDirectory = join(directory, "data");
const broker = new ServiceBroker(
  brokerOptions(readConfig({ MOIETY_DATA_DIR: dataDirectory, MOIETY_LOG_LEVEL: "fatal" })),
);
const call = callOf(broker);
const facts: [string, unknown][] = [];
let onnx: ArtifactRef;

beforeAll(async () => {
  broker.createService(registry);
  broker.createService({
    name: "listener",
    events: {
      "model.*"(ctx: Context<unknown>) {
        facts.push([ctx.eventName!, ctx.params]);
      },
    },
  });
  await broker.start();
  const store = await openStore({ kind: "files", directory: dataDirectory });
  onnx = await store.artifacts.put(new Uint8Array([1, 2, 3]));
  await store.close();
});
afterAll(async () => {
  await broker.stop();
  await rm(directory, { recursive: true, force: true });
});

const publication = () => ({
  model: "mnist",
  artifacts: { onnx },
  signature: {
    inputs: [{ name: "image", datatype: "UINT8" as const, shape: [-1, 28, 28] }],
    outputs: [{ name: "probabilities", datatype: "FP32" as const, shape: [-1, 10] }],
  },
  labels: ["0", "1"],
});

test("publishes, promotes and lists models, and tells everybody", async () => {
  expect(await call("registry.list", {})).toEqual([]);
  expect((await call("registry.publish", publication())).version).toBe(1);
  expect(await call("registry.promote", { model: "mnist", version: 1 })).toMatchObject({
    promoted: true,
    record: { aliases: { production: 1 } },
  });
  await call("registry.promote", { model: "mnist", version: 1 });
  await call("registry.setAlias", { model: "mnist", alias: "canary", version: 1 });
  expect(await call("registry.version", { model: "mnist" })).toMatchObject({
    version: 1,
    labels: ["0", "1"],
  });
  expect(await call("registry.get", { model: "mnist" })).toMatchObject({
    versions: [1],
    aliases: { production: 1, canary: 1 },
  });
  expect((await call("registry.list", {})).map(({ model }) => model)).toEqual(["mnist"]);
  expect(facts).toEqual([
    ["model.published", { model: "mnist", version: 1 }],
    ["model.aliasMoved", { model: "mnist", alias: "production", version: 1 }],
    ["model.aliasMoved", { model: "mnist", alias: "canary", version: 1 }],
  ]);
});

test("refuses parameters that are missing, wrong or unknown before anything is written", async () => {
  const before = await call("registry.list", {});
  const good = publication();
  const bad: [string, object][] = [
    ["registry.publish", {}],
    ["registry.publish", { ...good, extra: 1 }],
    ["registry.publish", { ...good, artifacts: { onnx: { digest: "sha256:abc", size: 3 } } }],
    ["registry.publish", { ...good, artifacts: { onnx: { ...onnx, size: -1 } } }],
    ["registry.publish", { ...good, signature: { inputs: [], outputs: [] } }],
    [
      "registry.publish",
      { ...good, signature: { ...good.signature, inputs: [{ name: "x", datatype: "F", shape: [] }] } },
    ],
    ["registry.publish", { ...good, metrics: { accuracy: 2 } }],
    ["registry.publish", { ...good, lineage: { jobId: "x" } }],
    ["registry.list", { extra: 1 }],
    ["registry.get", {}],
    ["registry.version", { model: "mnist", version: 1 }],
    ["registry.setAlias", { model: "mnist", alias: "canary", version: "1" }],
    ["registry.promote", { model: "mnist", version: 1.5 }],
  ];
  for (const [action, params] of bad)
    await expect(broker.call(action, params)).rejects.toMatchObject({ type: "VALIDATION_ERROR", code: 422 });
  expect(await call("registry.list", {})).toEqual(before);
});

test("says what is not there and which names are none", async () => {
  const cases: [() => Promise<unknown>, string][] = [
    [() => call("registry.get", { model: "none" }), "MODEL_NOT_FOUND"],
    [() => call("registry.version", { model: "mnist", version: "7" }), "MODEL_VERSION_NOT_FOUND"],
    [
      () => call("registry.setAlias", { model: "mnist", alias: "canary", version: 7 }),
      "MODEL_VERSION_NOT_FOUND",
    ],
    [() => call("registry.setAlias", { model: "mnist", alias: "1", version: 1 }), "INVALID_INPUT"],
    [() => call("registry.publish", { ...publication(), model: "../mnist" }), "INVALID_INPUT"],
    [
      () =>
        call("registry.publish", {
          ...publication(),
          artifacts: { onnx: { digest: `sha256:${"0".repeat(64)}`, size: 3 } },
        }),
      "ARTIFACT_NOT_FOUND",
    ],
  ];
  for (const [answer, type] of cases) expect(await rejection(answer())).toBe(type);
});

test("does not start on a data folder that cannot be written, and says which", async () => {
  const blocked = join(directory, "blocked");
  await writeFile(blocked, "a file");
  const other = new ServiceBroker(
    brokerOptions(readConfig({ MOIETY_DATA_DIR: blocked, MOIETY_LOG_LEVEL: "fatal" })),
  );
  other.createService(registry);
  await expect(other.start()).rejects.toMatchObject({
    type: "STORE_UNAVAILABLE",
    message: expect.stringContaining(blocked),
  });
  await other.stop();
});
