/** A job of the engine "tfjs" through the real services: trained, converted with parity, evaluated and served. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { ActionParams } from "../../lib/protocol/actions.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { stripesNetwork, writeStripes } from "../fixtures/idx-dataset.ts";
import { classification } from "../support/classification.ts";

const JOB_TIMEOUT_MS = 600_000;

let directory: string;
let broker: ServiceBroker;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-tfjs-"));
  const datasets = join(directory, "datasets");
  await writeStripes(datasets, "stripes", { train: 200, test: 100 });
  const config = readConfig({
    MOIETY_DATA_DIR: join(directory, "data"),
    MOIETY_DATASETS_DIR: datasets,
    MOIETY_LOG_LEVEL: "fatal",
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
  });
  broker = await startNode(config, ["registry", "converter", "evaluator", "trainer", "inference"]);
});
afterAll(async () => {
  await stopNode(broker);
  await rm(directory, { recursive: true, force: true });
});

const request = (engine: "onnx" | "tfjs"): ActionParams<"trainer.start"> => {
  const architecture = stripesNetwork();
  architecture.config.layers.splice(-1, 0, { class_name: "Dropout", config: { rate: 0.1 } });
  return {
    model: `stripes-${engine}`,
    architecture,
    data: { dataset: "stripes", validationSplit: 0.2 },
    optimizer: { class_name: "Adam", config: { learning_rate: 0.01 } },
    epochs: 4,
    seed: 5,
    engine,
  };
};

async function ended(given: ActionParams<"trainer.start">) {
  const call = callOf(broker);
  const { id } = await call("trainer.start", given);
  return eventually(async () => {
    const job = await call("trainer.get", { id });
    return ["succeeded", "failed", "cancelled"].includes(job.state) ? job : undefined;
  }, JOB_TIMEOUT_MS);
}

test(
  "learns what the other engine learns, is converted with parity, and answers",
  async () => {
    const [tfjs, onnx] = [await ended(request("tfjs")), await ended(request("onnx"))];
    expect(tfjs.error).toBeUndefined();
    expect(tfjs.state).toBe("succeeded");
    // The same weights, batches and masks: what differs is the rounding of float32.
    tfjs.history.forEach((epoch, i) => {
      expect(epoch.loss).toBeCloseTo(onnx.history[i]!.loss, 3);
      expect(epoch.validationLoss).toBeCloseTo(onnx.history[i]!.validationLoss!, 3);
    });
    expect([tfjs.backend, onnx.backend]).toEqual([expect.stringContaining("@tensorflow/"), "cpu"]);
    const version = await callOf(broker)("registry.version", { model: "stripes-tfjs" });
    expect(version.lineage).toMatchObject({
      engine: "tfjs",
      backend: expect.stringMatching(/^@tensorflow\/tfjs.* 4\.\d+\.\d+ \(\w+\)$/),
      parity: { tolerance: 1e-5 },
    });
    expect(version.lineage!.parity.maxAbsError).toBeLessThanOrEqual(1e-5);
    const other = await callOf(broker)("registry.version", { model: "stripes-onnx" });
    expect(other.lineage).toMatchObject({ engine: "onnx", backend: "cpu" });
    expect(classification(version.metrics).accuracy).toBeGreaterThan(0.9);

    const answer = await callOf(broker)("inference.predict", {
      model: "stripes-tfjs",
      inputs: [{ name: "image", datatype: "FP32", shape: [1, 8, 8, 1], data: new Float32Array(64).fill(9) }],
    });
    expect(answer.outputs[0]!.shape).toEqual([1, 4]);
  },
  JOB_TIMEOUT_MS,
);

test("is refused what only the other engine has, before a job exists", async () => {
  const architecture = stripesNetwork();
  architecture.config.layers.splice(-1, 0, { class_name: "GaussianNoise", config: { stddev: 0.1 } });
  const refused = callOf(broker)("trainer.start", { ...request("tfjs"), architecture });
  await expect(refused).rejects.toMatchObject({
    type: "INVALID_MODEL",
    message: expect.stringContaining('engine "onnx" has it'),
  });
  const unknown = { ...request("onnx"), engine: "torch" as "onnx" };
  await expect(callOf(broker)("trainer.start", unknown)).rejects.toMatchObject({ type: "INVALID_INPUT" });
});
