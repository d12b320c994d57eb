/** Ensembles over HTTP: published, described and asked for as any other model. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

let directory: string;
let broker: ServiceBroker;
let url: string;

type Json = Record<string, unknown>;

async function ask(method: string, path: string, body?: unknown) {
  const response = await fetch(url + path, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    location: response.headers.get("location"),
    json: (text ? JSON.parse(text) : {}) as Json,
  };
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-ensembles-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  const store = await openStore(config.store);
  for (const scale of [10, 20]) {
    const onnx = await store.artifacts.put(affineModel({ scale }));
    const spec = { datatype: "FP32" as const, shape: [-1, 3] };
    const signature = { inputs: [{ name: "x", ...spec }], outputs: [{ name: "y", ...spec }] };
    await callOf(broker)("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
  }
  await store.close();
  await callOf(broker)("registry.setAlias", { model: "m", alias: "stable", version: 1 });
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

const SPEC = { datatype: "FP32", shape: [-1, 3] };
const ENSEMBLE = {
  inputs: [{ name: "raw", datatype: "INT32", shape: [-1, 3] }],
  outputs: [
    { name: "total", ...SPEC },
    { name: "best", datatype: "INT64", shape: [-1] },
  ],
  steps: [
    { name: "pre", operators: [{ operator: "cast", to: "FP32", inputs: ["raw"], outputs: ["x"] }] },
    { name: "stable", model: "m", version: "stable", inputs: { x: "x" }, outputs: { y: "a" } },
    { name: "second", model: "m", version: "2", inputs: { x: "x" }, outputs: { y: "b" } },
    {
      name: "post",
      operators: [
        { operator: "add", inputs: ["a", "b"], outputs: ["total"] },
        { operator: "argMax", outputs: ["best"] },
      ],
    },
  ],
};
const infer = (data: number[], changes: object = {}, path = "/v2/models/sum/infer") =>
  ask("POST", path, {
    inputs: [{ name: "raw", datatype: "INT32", shape: [data.length / 3, 3], data }],
    ...changes,
  });

test("publishes, describes, serves and configures an ensemble", async () => {
  const published = await ask("POST", "/api/models/sum/versions", { ensemble: ENSEMBLE });
  expect(published).toMatchObject({
    status: 201,
    location: "/api/models/sum/versions/1",
    json: { model: "sum", version: 1, format: "ensemble" },
  });
  expect((await ask("GET", `${published.location}/ensemble`)).json).toEqual(ENSEMBLE);
  await eventually(async () => (await ask("GET", "/v2/models/sum/ready")).status === 200 || undefined);
  expect((await ask("GET", "/v2/models/sum")).json).toMatchObject({
    name: "sum",
    versions: ["1"],
    platform: "ensemble",
    inputs: ENSEMBLE.inputs,
    outputs: ENSEMBLE.outputs,
  });
  expect((await ask("GET", "/v2/models/sum/config")).json).toMatchObject({
    platform: "ensemble",
    ensemble_scheduling: {
      step: [
        { model_name: "pre", model_version: -1 },
        { model_name: "m", model_version: -1, input_map: { x: "x" }, output_map: { y: "a" } },
        { model_name: "m", model_version: 2, input_map: { x: "x" }, output_map: { y: "b" } },
        { model_name: "post", input_map: { a: "a", b: "b" }, output_map: { total: "total", best: "best" } },
      ],
    },
  });
  // (10x + 1) + (20x + 1)
  expect((await infer([1, 3, 2, 0, 0, 0])).json).toMatchObject({
    model_name: "sum",
    model_version: "1",
    parameters: { "step.stable": "m/1", "step.second": "m/2" },
    outputs: [
      { name: "total", shape: [2, 3], data: [32, 92, 62, 2, 2, 2] },
      { name: "best", shape: [2], data: [1, 0] },
    ],
  });
  expect((await infer([1, 3, 2], { outputs: [{ name: "best" }] })).json.outputs).toEqual([
    { name: "best", datatype: "INT64", shape: [1], data: [1] },
  ]);
  const statistics = (await ask("GET", "/v2/models/sum/stats")).json.model_stats as Json[];
  expect(statistics[0]).toMatchObject({ name: "sum", version: "1", inference_count: 3, execution_count: 2 });
});

test("answers wrong requests and ensembles with the field that is wrong", async () => {
  const wrong = await ask("POST", "/v2/models/sum/infer", {
    inputs: [{ name: "raw", datatype: "INT32", shape: [1, 2], data: [1, 2] }],
  });
  expect([wrong.status, wrong.json.error]).toEqual([
    400,
    'Invalid inputs["raw"].shape: received [1,2], expected [-1,3] (-1 is any size)',
  ]);
  const lost = structuredClone(ENSEMBLE);
  lost.steps[1]!.inputs = { x: "y" } as never;
  expect(await ask("POST", "/api/models/sum/versions", { ensemble: lost })).toMatchObject({
    status: 400,
    json: {
      type: "INVALID_INPUT",
      error: expect.stringContaining("ensemble.steps[1].inputs: received 'y', which nothing writes"),
    },
  });
  expect(await ask("POST", "/api/models/sum/versions", {})).toMatchObject({
    status: 400,
    json: { error: expect.stringContaining("ensemble") },
  });
  expect(await ask("POST", "/api/models/a%2Fb/versions", { ensemble: ENSEMBLE })).toMatchObject({
    status: 400,
  });
  expect(await ask("GET", "/api/models/m/versions/1/ensemble")).toMatchObject({ status: 400 });
  expect((await ask("GET", "/api/models/sum")).json.versions).toEqual([1]);
});

test("is not ready while a step's model is unloaded, and names the step", async () => {
  await ask("POST", "/v2/repository/models/m/unload");
  expect((await ask("GET", "/v2/models/sum/ready")).status).toBe(503);
  const refused = await infer([7, 7, 7], { parameters: { priority: 1 } });
  expect([refused.status, refused.json.type]).toEqual([503, "MODEL_NOT_READY"]);
  expect(refused.json.error).toMatch(/^Step '(stable|second)': Model 'm' version/);
  await ask("POST", "/v2/repository/models/m/load");
  await eventually(async () => (await ask("GET", "/v2/models/sum/ready")).status === 200 || undefined);
  expect((await infer([7, 7, 7])).status).toBe(200);
});
