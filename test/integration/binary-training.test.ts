/** A classifier of one output through the real services: trained, converted, evaluated, published and asked. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { ActionParams } from "../../lib/protocol/actions.ts";
import type { TrainingSpec } from "../../lib/protocol/jobs.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { stripesNetwork, writeStripes } from "../fixtures/idx-dataset.ts";
import { classification } from "../support/classification.ts";

const JOB_TIMEOUT_MS = 600_000;

let directory: string;
let broker: ServiceBroker;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-binary-"));
  const datasets = join(directory, "datasets");
  await writeStripes(datasets, "two", { classes: 2 });
  await writeStripes(datasets, "three", { classes: 3, train: 60, test: 30 });
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

function oneOutput(activation: string) {
  const network = stripesNetwork(1);
  network.config.layers.at(-1)!.config.activation = activation;
  return network;
}

async function ended(request: ActionParams<"trainer.start">) {
  const call = callOf(broker);
  const { id } = await call("trainer.start", request);
  return eventually(async () => {
    const job = await call("trainer.get", { id });
    return ["succeeded", "failed", "cancelled"].includes(job.state) ? job : undefined;
  }, JOB_TIMEOUT_MS);
}

describe("a classifier of one output", () => {
  test.each<[string, string, TrainingSpec["loss"], string[]]>([
    ["sigmoid", "binary cross-entropy", "binary_crossentropy", ["0", "1"]],
    [
      "linear",
      "binary cross-entropy from logits",
      { class_name: "BinaryCrossentropy", config: { from_logits: true, label_smoothing: 0.05 } },
      [],
    ],
    ["tanh", "hinge", "hinge", []],
  ])("that is %s learns two classes with %s and is published", async (activation, _, loss, labels) => {
    const model = `two-${activation}`;
    const job = await ended({
      model,
      architecture: oneOutput(activation),
      data: { dataset: "two", validationSplit: 0.2 },
      optimizer: { class_name: "Adam", config: { learning_rate: 0.01 } },
      epochs: 4,
      loss,
    });
    expect(job.error).toBeUndefined();
    expect(job.state).toBe("succeeded");
    expect(job.history.at(-1)!.validationAccuracy).toBeGreaterThan(0.95);

    const version = await callOf(broker)("registry.version", { model });
    expect(version.labels).toEqual(labels);
    expect(version.signature.outputs[0]!.shape).toEqual([-1, 1]);
    expect(version.lineage!.loss).toEqual(loss);
    const { accuracy, loss: crossEntropy, confusionMatrix, perClass } = classification(version.metrics);
    expect(accuracy).toBeGreaterThan(0.95);
    expect(crossEntropy).toBeLessThan(0.5);
    expect(perClass.map(({ label }) => label)).toEqual(["0", "1"]);
    expect(confusionMatrix.flat().reduce((sum, count) => sum + count)).toBe(200);
  });

  test("is refused data of three classes, before it trains", async () => {
    const job = await ended({
      model: "three",
      architecture: oneOutput("sigmoid"),
      data: { dataset: "three" },
      loss: "binary_crossentropy",
    });
    expect(job.state).toBe("failed");
    expect(job.error).toMatchObject({ type: "INVALID_INPUT" });
    expect(job.error!.message).toContain("received 3 classes, expected at most 2: output 'class' has 1");
    expect(job.history).toEqual([]);
  });

  test("is refused a loss that compares classes, before a job exists", async () => {
    const request = { model: "m", architecture: oneOutput("sigmoid"), data: { dataset: "two" } };
    const refused = callOf(broker)("trainer.start", { ...request, loss: "categorical_crossentropy" });
    await expect(refused).rejects.toMatchObject({ type: "INVALID_MODEL", code: 400 });
  });
});
