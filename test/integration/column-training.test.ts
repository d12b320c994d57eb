/**
 * A data set of named columns through the real services: two inputs, a target of classes and one of values, examples
 * that do not count, and nothing of it kept in memory.
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { encodeNpy } from "../../lib/data/npy.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import type { ActionParams } from "../../lib/protocol/actions.ts";
import { RandomStream } from "../../lib/random/stream.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";

const JOB_TIMEOUT_MS = 600_000;

let directory: string;
let broker: ServiceBroker;

/** The class is the sign of the first input's sum, the value the second input; every third example says otherwise. */
function part(count: number, name: string, wrongs: boolean) {
  const random = RandomStream.named(1, name);
  const signs = Float32Array.from({ length: count * 3 }, () => random.uniform() * 2 - 1);
  const places = Float32Array.from({ length: count }, () => random.uniform() * 2 - 1);
  const isWrong = (row: number) => wrongs && row % 3 === 0;
  const rows = Array.from({ length: count }, (_, row) => row);
  const sign = (row: number) => (signs[row * 3]! + signs[row * 3 + 1]! + signs[row * 3 + 2]! > 0 ? 1 : 0);
  return {
    signs: { datatype: "FP32" as const, shape: [count, 3], data: signs },
    places: { datatype: "FP32" as const, shape: [count, 1], data: places },
    side: {
      datatype: "INT64" as const,
      shape: [count],
      data: BigInt64Array.from(rows, (row) => BigInt(isWrong(row) ? 1 - sign(row) : sign(row))),
    },
    place: {
      datatype: "FP64" as const,
      shape: [count, 1],
      data: Float64Array.from(rows, (row) => (isWrong(row) ? 50 : 3 * places[row]! + 1)),
    },
    weights: {
      datatype: "FP32" as const,
      shape: [count],
      data: Float32Array.from(rows, (row) => (isWrong(row) ? 0 : 1)),
    },
  };
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-columns-"));
  const datasets = join(directory, "datasets");
  const [train, test] = [part(600, "train", true), part(200, "test", false)];
  const both = <K extends keyof typeof train>(name: K) => ({ train: train[name], test: test[name] });
  await writeDataset(join(datasets, "two-by-two"), {
    inputs: { signs: both("signs"), places: both("places") },
    targets: { side: { ...both("side"), labelNames: ["left", "right"] }, place: both("place") },
    weights: both("weights"),
  });
  await writeDataset(join(datasets, "broken"), {
    inputs: { signs: both("signs"), places: both("places") },
    targets: { side: { ...both("side"), labelNames: ["left", "right"] }, place: both("place") },
  });
  const bad = { ...test.place, data: test.place.data.with(7, Number.NaN) };
  await writeFile(join(datasets, "broken", "test-target-1.npy"), encodeNpy(bad));
  const config = readConfig({
    MOIETY_DATA_DIR: join(directory, "data"),
    MOIETY_DATASETS_DIR: datasets,
    MOIETY_DATASETS_MEMORY_BYTES: "0",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "converter", "evaluator", "trainer"]);
});
afterAll(async () => {
  await stopNode(broker);
  await rm(directory, { recursive: true, force: true });
});

function network() {
  const tensor = (name: string) => ({
    class_name: "__keras_tensor__",
    config: { keras_history: [name, 0, 0] },
  });
  const layer = (class_name: string, name: string, from: string | undefined, config: object) => ({
    class_name,
    name,
    config: { name, ...config },
    inbound_nodes: from === undefined ? [] : [{ args: [tensor(from)], kwargs: {} }],
  });
  return {
    class_name: "Functional",
    config: {
      name: "two_by_two",
      layers: [
        layer("InputLayer", "signs", undefined, { batch_shape: [null, 3] }),
        layer("InputLayer", "places", undefined, { batch_shape: [null, 1] }),
        layer("Dense", "side", "signs", { units: 2, activation: "softmax" }),
        layer("Dense", "place", "places", { units: 1 }),
      ],
      input_layers: [
        ["signs", 0, 0],
        ["places", 0, 0],
      ],
      output_layers: [
        ["side", 0, 0],
        ["place", 0, 0],
      ],
    },
  };
}

async function ended(dataset: string) {
  const call = callOf(broker);
  const request: ActionParams<"trainer.start"> = {
    model: dataset,
    architecture: network(),
    data: { dataset },
    loss: { side: "sparse_categorical_crossentropy", place: "mean_squared_error" },
    optimizer: { class_name: "Adam", config: { learning_rate: 0.05 } },
    epochs: 12,
  };
  const { id } = await call("trainer.start", request);
  return eventually(async () => {
    const job = await call("trainer.get", { id });
    return ["succeeded", "failed", "cancelled"].includes(job.state) ? job : undefined;
  }, JOB_TIMEOUT_MS);
}

test("columns find their inputs and outputs by name, and examples of weight nought teach nothing", async () => {
  const job = await ended("two-by-two");
  expect(job.error).toBeUndefined();
  const { metrics, labels, lineage } = await callOf(broker)("registry.version", { model: "two-by-two" });
  const { side, place } = metrics!.outputs!;
  if (side?.kind !== "classification" || place?.kind !== "regression") throw new Error("scored otherwise");
  expect([side.examples, place.examples]).toEqual([200, 200]);
  expect(side.accuracy).toBeGreaterThan(0.95);
  // A third of the training examples say 50.
  expect(place.mae).toBeLessThan(0.1);
  expect(labels).toEqual(["left", "right"]);
  expect(lineage!.dataset).toMatchObject({ name: "two-by-two", trainExamples: 600, testExamples: 200 });
});

test("a value that is none fails the job before it trains, naming file, row and field", async () => {
  const job = await ended("broken");
  expect(job).toMatchObject({ state: "failed", history: [], error: { type: "DATASET_CORRUPT" } });
  expect(job.error!.message).toContain("test-target-1.npy");
  expect(job.error!.message).toContain("NaN in row 7");
  expect(job.error!.message).toContain("targets.place.test");
});
