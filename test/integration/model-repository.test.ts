/** The Open Inference Protocol's repository, configuration and statistics, over HTTP in front of real services. */

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

type Json = Record<string, unknown>;

let directory: string;
let broker: ServiceBroker;
let url: string;

async function ask(method: string, path: string, body?: unknown) {
  const response = await fetch(url + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Json };
}

const predict = (model: string, version?: number, parameters: object = {}) =>
  ask("POST", `/v2/models/${model}${version === undefined ? "" : `/versions/${version}`}/infer`, {
    parameters,
    inputs: [{ name: "x", shape: [2, 3], datatype: "FP32", data: [1, 2, 3, 4, 5, 6] }],
  });

async function publish(model: string, bytes: Uint8Array): Promise<number> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const signature = {
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
    outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }],
  } as const;
  const published = await callOf(broker)("registry.publish", {
    model,
    artifacts: { onnx },
    signature: { inputs: [...signature.inputs], outputs: [...signature.outputs] } as never,
    labels: ["a", "b", "c"],
  });
  return published.version;
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-repository-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  for (const scale of [10, 20, 30]) await publish("m", affineModel({ scale }));
  await eventually(async () => (await callOf(broker)("inference.ready", { model: "m" })).ready || undefined);
  await eventually(async () => (await predict("m", 3)).status === 200 || undefined);
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

const index = async (body?: object) => {
  const { json } = await ask("POST", "/v2/repository/index", body);
  return (json as unknown as { name: string; version: string; state: string; reason: string }[]).map(
    ({ name, version, state, reason }) => `${name}/${version} ${state}${reason ? `: ${reason}` : ""}`,
  );
};

test("indexes every version, with why one is not ready", async () => {
  expect(await index()).toEqual(["m/1 UNAVAILABLE: not among the versions served", "m/2 READY", "m/3 READY"]);
  expect(await index({ ready: true })).toEqual(["m/2 READY", "m/3 READY"]);
  expect(await ask("POST", "/v2/repository/index", { ready: "yes" })).toMatchObject({
    status: 400,
    json: { error: expect.stringContaining("ready") },
  });
});

test("unloads a model once it is drained, and loads it again", async () => {
  const answers = Array.from({ length: 20 }, () => predict("m", undefined, { cache: false }));
  await Promise.all(answers);
  expect(await ask("POST", "/v2/repository/models/m/unload")).toEqual({ status: 200, json: {} });
  expect((await index()).every((line) => line.endsWith("UNAVAILABLE: unloaded"))).toBe(true);
  expect(await predict("m")).toMatchObject({ status: 503, json: { type: "MODEL_NOT_READY" } });
  expect(await ask("POST", "/v2/repository/models/m/load", {})).toEqual({ status: 200, json: {} });
  expect((await predict("m")).json).toMatchObject({
    model_version: "3",
    outputs: [{ data: [31, 61, 91, 121, 151, 181] }],
  });
});

test("says at once why a model cannot be loaded, and goes on serving the others", async () => {
  await publish("broken", new Uint8Array([1, 2, 3]));
  const answer = await ask("POST", "/v2/repository/models/broken/load");
  expect(answer).toMatchObject({ status: 422, json: { type: "LOAD_FAILED" } });
  expect(answer.json.error).toContain("broken");
  expect((await predict("m")).status).toBe(200);
  expect((await index()).find((line) => line.startsWith("broken/1 UNAVAILABLE: "))).toBeDefined();
});

test("says at once that there is no version to load", async () => {
  await publish("none", affineModel({ scale: 1 }));
  await ask("PUT", "/api/models/none/configuration", { versions: { numbers: [7] } });
  expect(await ask("POST", "/v2/repository/models/none/load")).toMatchObject({
    status: 422,
    json: { type: "LOAD_FAILED", error: expect.stringContaining("no version") },
  });
});

test.each([
  ["/v2/repository/models/nosuch/load", {}, 404, "MODEL_NOT_FOUND"],
  ["/v2/repository/models/nosuch/unload", {}, 404, "MODEL_NOT_FOUND"],
  ["/v2/repository/models/m/load", { parameters: { config: "{}" } }, 400, "INVALID_INPUT"],
  ["/v2/repository/models/m/load", { parameters: { "file:1/model.onnx": "AA==" } }, 400, "INVALID_INPUT"],
  ["/v2/repository/models/m/load", [], 400, "INVALID_INPUT"],
  ["/v2/repository/models/m/unload", { parameters: { unload_dependents: 1 } }, 400, "INVALID_INPUT"],
])("refuses POST %s with %j", async (path, body, status, type) => {
  expect(await ask("POST", path, body)).toMatchObject({ status, json: { type } });
});

test("prints how a model is served in Triton's terms, and follows its configuration", async () => {
  const before = (await ask("GET", "/v2/models/m/config")).json;
  expect(before).toMatchObject({
    name: "m",
    backend: "onnxruntime",
    max_batch_size: 32,
    version_policy: { latest: { num_versions: 2 } },
    input: [{ name: "x", data_type: "TYPE_FP32", dims: [3] }],
    output: [{ name: "y", data_type: "TYPE_FP32", dims: [3] }],
  });
  const configuration = {
    batching: { maxRows: 4, queueDelayMs: 0.5 },
    queue: { maxRequests: 7, priorityLevels: 3, defaultPriority: 1 },
    versions: { numbers: [1, 3] },
    cache: { enabled: false },
  };
  expect(await ask("PUT", "/api/models/m/configuration", configuration)).toMatchObject({
    status: 200,
    json: { configuration },
  });
  expect((await ask("GET", "/v2/models/m/config")).json).toMatchObject({
    max_batch_size: 4,
    version_policy: { specific: { versions: [1, 3] } },
    dynamic_batching: {
      max_queue_delay_microseconds: 500,
      priority_levels: 3,
      default_priority_level: 1,
      default_queue_policy: { max_queue_size: 7 },
    },
    response_cache: { enable: false },
  });
  await eventually(async () => (await predict("m", 1)).status === 200 || undefined);
  expect(await ask("PUT", "/api/models/m/configuration", { batch: 1 })).toMatchObject({
    status: 400,
    json: { error: expect.stringContaining("configuration.batch") },
  });
  await ask("PUT", "/api/models/m/configuration", {});
});

test("follows how instances are made, and prints it; goes on with what it has where it cannot", async () => {
  const configure = async (configuration: object) =>
    expect(await ask("PUT", "/api/models/m/configuration", configuration)).toMatchObject({
      status: 200,
      json: { configuration },
    });
  await configure({
    instances: { workers: 1, intraOpThreads: 2 },
    warmup: [{ rows: 4, count: 2, inputs: { x: { values: "random" } } }],
    labels: ["x", "y", "z"],
    queue: { whenFull: "delay" },
    cache: { maxBytes: 100_000 },
  });
  const { json } = await ask("GET", "/v2/models/m/config");
  expect(json).toMatchObject({
    instance_group: [{ kind: "KIND_CPU", count: 1 }],
    model_warmup: [
      { batch_size: 4, count: 2, inputs: { x: { data_type: "TYPE_FP32", dims: [3], random_data: true } } },
    ],
    dynamic_batching: { default_queue_policy: { timeout_action: "DELAY" } },
    parameters: {
      intra_op_thread_count: { string_value: "2" },
      execution_provider: { string_value: "cpu" },
      cache_max_bytes: { string_value: "100000" },
    },
  });
  const reasons = async () =>
    (await callOf(broker)("inference.states", { model: "m" })).flatMap(({ reason }) => reason || []);
  expect((await predict("m", 3)).status).toBe(200);
  await configure({ provider: process.platform === "win32" ? "coreml" : "dml" });
  await eventually(async () => (await reasons())[0]?.includes("is not offered by") || undefined);
  expect((await predict("m", 3)).status).toBe(200);
  await configure({ warmup: [{ inputs: { z: { values: "zeros" } } }] });
  await eventually(async () => (await reasons())[0]?.includes('no input "z"') || undefined);
  await configure({});
  await eventually(async () => (await reasons()).length === 0 || undefined);
  expect((await predict("m", 3)).status).toBe(200);
});

test("counts what versions have done", async () => {
  type Stats = { model_stats: (Json & { inference_stats: Record<string, { count: number; ns: number }> })[] };
  const read = async (path: string) => (await ask("GET", path)).json as Stats;
  const of = (await read("/v2/models/m/versions/3/stats")).model_stats;
  expect(of).toHaveLength(1);
  const before = of[0]!;
  for (let i = 0; i < 3; i++) await predict("m", 3, { cache: false });
  const [after] = (await read("/v2/models/m/versions/3/stats")).model_stats;
  expect(after).toMatchObject({
    name: "m",
    version: "3",
    inference_count: (before.inference_count as number) + 6,
    execution_count: (before.execution_count as number) + 3,
  });
  for (const name of ["success", "queue", "compute_input", "compute_infer", "compute_output"])
    expect(after!.inference_stats[name]!.count).toBe(before.inference_stats[name]!.count + 3);
  expect(after!.inference_stats.compute_infer!.ns).toBeGreaterThan(before.inference_stats.compute_infer!.ns);
  const all = (await read("/v2/models/stats")).model_stats;
  expect(all.map(({ name }) => name)).toContain("m");
  expect(await ask("GET", "/v2/models/nosuch/stats")).toMatchObject({ status: 404 });
});
