/** The Open Inference Protocol's repository, configuration and statistics over gRPC: what HTTP answers, as messages. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, grpcAddress } from "../../cli/node.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { BytesClient, OipClient } from "../fixtures/grpc-client.ts";

const SPEC = { name: "x", datatype: "FP32" as const, shape: [-1, 2] };

let directory: string;
let broker: ServiceBroker;
let url: string;
let client: OipClient;
let bytes: BytesClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-grpc-repository-"));
  broker = await startEchoNode(directory);
  url = gatewayUrl(broker);
  client = new OipClient(grpcAddress(broker)!);
  bytes = new BytesClient(grpcAddress(broker)!);
});

afterAll(async () => {
  client?.close();
  bytes?.close();
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

const http = async <T = unknown>(path: string, method = "GET") =>
  (await (await fetch(url + path, { method })).json()) as T;
const outcome = (method: string, request: object) =>
  client.call(method, request).then(
    (answer) => ({ code: status.OK, details: "", answer }),
    ({ code, details }: { code: number; details: string }) => ({ code, details }),
  );
const ready = () => client.call("ModelReady", { name: "lookup" });
const predict = () =>
  client.infer({
    model_name: "wide",
    inputs: [{ name: "x", datatype: "FP32", shape: [3, 1] }],
    raw_input_contents: [Buffer.alloc(12)],
    parameters: { cache: { bool_param: false } },
  });

test("the index is that of HTTP", async () => {
  const models = await http<object[]>("/v2/repository/index", "POST");
  expect(await client.call("RepositoryIndex")).toEqual({ models });
  expect(models.length).toBeGreaterThan(10);
  await client.call("RepositoryModelUnload", { model_name: "lookup" });
  const { models: left } = await client.call<{ models: { name: string }[] }>("RepositoryIndex", {
    ready: true,
  });
  expect(left.map(({ name }) => name)).not.toContain("lookup");
  expect(left).toHaveLength(models.length - 1);
  await client.call("RepositoryModelLoad", { model_name: "lookup" });
});

test("unloads a model and loads it again", async () => {
  const parameters = { unload_dependents: { bool_param: false } };
  expect(await ready()).toEqual({ ready: true });
  expect(await client.call("RepositoryModelUnload", { model_name: "lookup", parameters })).toEqual({});
  expect(await ready()).toEqual({ ready: false });
  expect(await client.call("RepositoryModelLoad", { model_name: "lookup" })).toEqual({});
  expect(await ready()).toEqual({ ready: true });
});

test("says at once why a model cannot be loaded", async () => {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(new Uint8Array([1, 2, 3]));
  await store.close();
  await callOf(broker)("registry.publish", {
    model: "broken",
    artifacts: { onnx },
    signature: { inputs: [SPEC], outputs: [SPEC] },
    labels: [],
  });
  expect(await outcome("RepositoryModelLoad", { model_name: "broken" })).toMatchObject({
    code: status.FAILED_PRECONDITION,
    details: expect.stringContaining("Loading model 'broken' failed"),
  });
});

test.each([
  ["RepositoryModelLoad", { model_name: "nosuch" }, status.NOT_FOUND, "Request for unknown model"],
  ["RepositoryModelUnload", { model_name: "nosuch" }, status.NOT_FOUND, "Request for unknown model"],
  ["RepositoryModelLoad", {}, status.INVALID_ARGUMENT, "model_name"],
  [
    "RepositoryModelLoad",
    { model_name: "lookup", parameters: { config: { string_param: "{}" } } },
    status.INVALID_ARGUMENT,
    "parameters.config",
  ],
  ["RepositoryIndex", { repository_name: "r" }, status.INVALID_ARGUMENT, "repository_name"],
  ["ModelConfig", { name: "nosuch" }, status.NOT_FOUND, "Request for unknown model"],
  ["ModelConfig", { name: "lookup", version: "9" }, status.NOT_FOUND, "version '9'"],
  ["ModelConfig", {}, status.INVALID_ARGUMENT, "name"],
  ["ModelStatistics", { name: "nosuch" }, status.NOT_FOUND, "Request for unknown model"],
  ["ModelStatistics", { version: "1" }, status.INVALID_ARGUMENT, "name"],
])("refuses %s with %j", async (method, request, code, details) => {
  expect(await outcome(method, request)).toEqual({ code, details: expect.stringContaining(details) });
});

test("the configuration of a model is that of HTTP", async () => {
  for (const model of ["lookup", "identity-bytes"]) {
    const config = await http(`/v2/models/${model}/config`);
    expect(await client.call("ModelConfig", { name: model })).toMatchObject({ config });
    expect(await client.call("ModelConfig", { name: model, version: "1" })).toMatchObject({ config });
  }
});

test("statistics are those of HTTP, and count", async () => {
  type Stats = { model_stats: { inference_count: number; execution_count: number }[] };
  const read = () => client.call<Stats>("ModelStatistics", { name: "wide", version: "1" });
  const [before] = (await read()).model_stats;
  await predict();
  const { model_stats } = await read();
  expect(model_stats[0]).toMatchObject({
    inference_count: before!.inference_count + 3,
    execution_count: before!.execution_count + 1,
  });
  type Printed = { model_stats: Record<string, unknown>[] };
  const [overHttp] = (await http<Printed>("/v2/models/wide/versions/1/stats")).model_stats;
  const { response_stats, memory_usage, ...same } = overHttp!;
  expect(model_stats).toEqual([same]);
  const all = (await client.call<Stats>("ModelStatistics")).model_stats;
  expect(all).toHaveLength((await http<Stats>("/v2/models/stats")).model_stats.length);
});

test.each([
  "SystemSharedMemoryStatus",
  "SystemSharedMemoryRegister",
  "SystemSharedMemoryUnregister",
  "CudaSharedMemoryStatus",
  "CudaSharedMemoryRegister",
  "CudaSharedMemoryUnregister",
  "TraceSetting",
  "LogSettings",
])("%s is not implemented, and the answer says so", async (method) => {
  expect(await bytes.send(method, new Uint8Array(0))).toMatchObject({
    code: status.UNIMPLEMENTED,
    details: expect.stringContaining(method),
  });
});
