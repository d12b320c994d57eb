/** Jobs that start from weights there are: of an earlier version, and of a file that Keras wrote. */

import { copyFile, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { ActionParams } from "../../lib/protocol/actions.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { readCheckpoint } from "../../lib/training/checkpoint.ts";
import { readWeightFile } from "../../lib/training/weight-file.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { stripesNetwork, writeStripes } from "../fixtures/idx-dataset.ts";

const JOB_TIMEOUT_MS = 600_000;
const FILE = new URL("../fixtures/keras/pretrained-images.keras", import.meta.url);

let directory: string;
let broker: ServiceBroker;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-pretrained-"));
  const datasets = join(directory, "datasets");
  await writeStripes(datasets, "two", { classes: 2 });
  await mkdir(join(datasets, "weights"));
  await copyFile(FILE, join(datasets, "weights", "images.keras"));
  const config = readConfig({
    MOIETY_DATA_DIR: join(directory, "data"),
    MOIETY_DATASETS_DIR: datasets,
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "converter", "evaluator", "trainer"]);
});
afterAll(async () => {
  await stopNode(broker);
  await rm(directory, { recursive: true, force: true });
});

type Request = ActionParams<"trainer.start">;

async function ended(request: Omit<Request, "data">) {
  const call = callOf(broker);
  const { id } = await call("trainer.start", { ...request, data: { dataset: "two" } });
  const job = await eventually(async () => {
    const found = await call("trainer.get", { id });
    return ["succeeded", "failed", "cancelled"].includes(found.state) ? found : undefined;
  }, JOB_TIMEOUT_MS);
  return job;
}

/** The weights of a published version, by name. */
async function weightsOf(model: string, version: string) {
  const { artifacts } = await callOf(broker)("registry.version", { model, version });
  const store = await openStore({ kind: "files", directory: join(directory, "data") });
  try {
    return readCheckpoint(await store.artifacts.get(artifacts.checkpoint!.digest)).weights;
  } finally {
    await store.close();
  }
}

/** The network of the tests with names for its layers; those but the last frozen, if asked. */
function network(frozen: boolean, head = "head") {
  const declared = stripesNetwork(2);
  const { layers } = declared.config;
  layers.forEach((layer, i) => {
    const isHead = i === layers.length - 1;
    Object.assign(layer.config, { name: isHead ? head : `base_${i}` });
    if (frozen && !isHead) Object.assign(layer.config, { trainable: false });
  });
  return declared;
}

test("fine-tunes a version of the registry: what is frozen stays, what has another name begins afresh", async () => {
  const base = await ended({ model: "base", architecture: network(false), epochs: 1 });
  expect(base.state).toBe("succeeded");
  expect(base.initialWeights).toBeUndefined();

  const job = await ended({
    model: "tuned",
    architecture: network(true, "new_head"),
    epochs: 1,
    seed: 9,
    initialWeights: { model: "base" },
  });
  expect(job.error).toBeUndefined();
  expect(job.spec.initialWeights).toEqual({ model: "base", version: 1 });
  const { lineage, artifacts } = await callOf(broker)("registry.version", { model: "tuned" });
  const before = await weightsOf("base", "1");
  const layers = [...new Set([...before.keys()].map((name) => name.split("/")[0]!))];
  const bodies = layers.filter((name) => name !== "head");
  expect(bodies.length).toBeGreaterThan(0);
  expect(lineage!.initialWeights).toEqual({
    source: { model: "base", version: 1 },
    digest: (await callOf(broker)("registry.version", { model: "base" })).artifacts.checkpoint!.digest,
    format: "checkpoint",
    taken: expect.arrayContaining(bodies),
    fresh: ["new_head"],
  });
  expect(job.initialWeights).toEqual(lineage!.initialWeights);
  expect(artifacts.checkpoint).toBeDefined();
  const after = await weightsOf("tuned", "1");
  for (const [name, { data }] of before)
    if (!name.startsWith("head/")) expect(after.get(name)!.data).toEqual(data);
});

test("goes on from where a version was: its loss begins where the other ended", async () => {
  const request = {
    architecture: network(false),
    epochs: 3,
    optimizer: { class_name: "Adam", config: { learning_rate: 0.01 } },
  };
  const first = await ended({ ...request, model: "first" });
  const second = await ended({ ...request, model: "second", initialWeights: { model: "first", version: 1 } });
  expect(second.history[0]!.loss).toBeLessThan(first.history[0]!.loss / 2);
});

test("starts from a file that Keras wrote, and says which layers took from it", async () => {
  const declared = network(false);
  // Four units before the head, as in the file.
  Object.assign(declared.config.layers.at(-2)!.config, { units: 4 });
  Object.assign(declared.config.layers.at(-1)!.config, { trainable: false });
  const job = await ended({
    model: "from-keras",
    architecture: declared,
    initialWeights: { file: "weights/images.keras" },
  });
  expect(job.error).toBeUndefined();
  expect(job.initialWeights).toMatchObject({ format: "Keras", taken: ["head"], fresh: ["base_3"] });
  const file = readWeightFile(await readFile(FILE));
  const stored = file.weights.filter(({ layer }) => layer === "head");
  const trained = await weightsOf("from-keras", "1");
  expect(["head/kernel", "head/bias"].map((name) => trained.get(name))).toEqual(
    stored.map(({ shape, data }) => ({ shape, data })),
  );
});

test("is refused a file that is not there, before a job exists", async () => {
  const refused = ended({
    model: "m",
    architecture: network(false),
    initialWeights: { file: "weights/none.keras" },
  });
  await expect(refused).rejects.toMatchObject({
    type: "INVALID_INPUT",
    data: { field: "initialWeights.file" },
  });
});

test("is refused a version that is not there, before a job exists", async () => {
  const refused = (initialWeights: Request["initialWeights"]) =>
    callOf(broker)("trainer.start", {
      model: "m",
      architecture: network(false),
      data: { dataset: "two" },
      initialWeights: initialWeights!,
    });
  await expect(refused({ model: "nobody" })).rejects.toMatchObject({ type: "MODEL_NOT_FOUND" });
  await expect(refused({ model: "base", version: 7 })).rejects.toMatchObject({
    type: "MODEL_VERSION_NOT_FOUND",
  });
});
