import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, until } from "../fixtures/eventually.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

let directory: string;
let broker: ServiceBroker;
let call: Call;
const heard: unknown[] = [];

const listener = {
  name: "listener",
  events: {
    "model.loaded": (ctx: { params: unknown }) => void heard.push(ctx.params),
    "model.loadFailed": (ctx: { params: unknown }) => void heard.push(ctx.params),
  },
};

beforeEach(async () => {
  heard.length = 0;
  directory = await mkdtemp(join(tmpdir(), "moiety-inference-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_NODE_ID: "node-1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference"], [listener]);
  call = callOf(broker);
});
afterEach(async () => {
  await broker.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Publishes `y = scale * x + 1`, or bytes that are no model. */
async function publish(model: string, content: number | Uint8Array): Promise<number> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(
    typeof content === "number" ? affineModel({ scale: content }) : content,
  );
  await store.close();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  const signature = { inputs: spec, outputs: [{ ...spec[0]!, name: "y" }] };
  return (await call("registry.publish", { model, artifacts: { onnx }, signature, labels: ["a", "b", "c"] }))
    .version;
}

const predict = (changes: object = {}) =>
  call("inference.predict", {
    model: "m",
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array([1, 2, 3]) }],
    ...changes,
  });
const ready = (model?: string) =>
  eventually(async () => (await call("inference.ready", model ? { model } : {})).ready || undefined);

describe("inference beside the registry in one process", () => {
  it("is up without models, not ready, and serves the first one as soon as it is published", async () => {
    await eventually(async () => {
      const { reason } = await call("inference.ready", {});
      return reason === "no model has been published" || undefined;
    });
    await publish("m", 10);
    await ready();
    expect(await predict()).toEqual({
      model: "m",
      version: "1",
      cached: false,
      outputs: [{ name: "y", datatype: "FP32", shape: [1, 3], data: new Float32Array([11, 21, 31]) }],
    });
    expect((await predict()).cached).toBe(true);
    expect(heard).toEqual([{ model: "m", version: "1", nodeID: "node-1" }]);
  });

  it("describes the model it serves", async () => {
    await publish("m", 10);
    await ready();
    expect(await call("inference.metadata", { model: "m" })).toEqual({
      model: "m",
      version: "1",
      versions: ["1"],
      platform: "onnxruntime_onnx",
      inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
      outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }],
      labels: ["a", "b", "c"],
    });
  });

  it("follows the production alias under load without a failed request", async () => {
    await publish("m", 10);
    await call("registry.setAlias", { model: "m", alias: "production", version: 1 });
    await ready();
    let stop = false;
    const seen = new Set<string>();
    const clients = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const { version, outputs } = await predict({ cache: false });
        seen.add(`${version}: ${(outputs[0]!.data as Float32Array)[0]}`);
      }
    });
    await until(() => seen.has("1: 11"));
    await publish("m", 20);
    await call("registry.setAlias", { model: "m", alias: "production", version: 2 });
    await until(() => seen.has("2: 21"));
    stop = true;
    await Promise.all(clients);
    expect([...seen]).toEqual(["1: 11", "2: 21"]);
  });

  it("reports a file that is no model and goes on serving", async () => {
    await publish("m", 10);
    await ready();
    await publish("m", new Uint8Array([1, 2, 3]));
    await until(() => heard.length === 2);
    expect(heard[1]).toMatchObject({ model: "m", version: "2", reason: expect.stringContaining("protobuf") });
    expect((await predict()).version).toBe("1");
    expect(await predict({ version: "2" }).catch(errorType)).toBe("MODEL_NOT_READY");
  });

  it("answers wrong requests with the field that is wrong", async () => {
    await publish("m", 10);
    await ready();
    expect(await predict({ model: "n" }).catch(errorType)).toBe("MODEL_NOT_FOUND");
    expect(
      await predict({ inputs: [] }).catch((error) => [error.code, error.type, error.data.field]),
    ).toEqual([400, "INVALID_INPUT", "inputs"]);
  });

  it("finishes what is in flight when the node stops", async () => {
    await publish("m", 10);
    await ready();
    const inFlight = Array.from({ length: 50 }, () => predict({ cache: false }));
    const stopped = broker.stop();
    const answers = await Promise.all(inFlight);
    expect(answers.every(({ outputs }) => (outputs[0]!.data as Float32Array)[0] === 11)).toBe(true);
    await stopped;
  });
});
