/** Model folders over HTTP: what is put there is served, what cannot be is named with its reason. */

import { copyFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

type Json = Record<string, unknown>;
type Entry = { name: string; version: string; state: string; reason: string };

let directory: string;
let folders: string;
let broker: ServiceBroker;
let url: string;

async function ask(method: string, path: string, body?: unknown) {
  const response = await fetch(url + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Json };
}

const infer = (model: string, version?: number) =>
  ask("POST", `/v2/models/${model}${version === undefined ? "" : `/versions/${version}`}/infer`, {
    inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
  });

const answer = async (model: string, version?: number) => {
  const { json } = await infer(model, version);
  return (json.outputs as { data: number[] }[] | undefined)?.[0]?.data;
};

async function entry(name: string, version = "1"): Promise<Entry | undefined> {
  const { json } = await ask("POST", "/v2/repository/index");
  return (json as unknown as Entry[]).find((e) => e.name === name && e.version === version);
}

async function put(path: string, content: Uint8Array | string): Promise<void> {
  const file = join(folders, path);
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, content);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-folders-"));
  folders = join(directory, "models");
  await put("plain/1/model.onnx", affineModel({ scale: 2 }));
  await put("garbage/1/model.onnx", "this is no model");
  await put("empty/notes.txt", "no version here");
  await put("triton/1/other.onnx", affineModel({ scale: 3 }));
  await put(
    "triton/config.pbtxt",
    `name: "triton" platform: "onnxruntime_onnx" max_batch_size: 8
     default_model_filename: "other.onnx"
     input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
     output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "names.txt" } ]
     dynamic_batching { max_queue_delay_microseconds: 200 }
     version_policy { all {} }`,
  );
  await put("triton/names.txt", "ant\nbee\ncat\n");
  await put("sequences/1/model.onnx", affineModel());
  await put("sequences/config.pbtxt", "sequence_batching { }");
  await put("own/3/model.onnx", affineModel({ scale: 4 }));
  await put("own/config.json", JSON.stringify({ batching: { maxRows: 2 }, versions: "all" }));
  const config = readConfig({
    MOIETY_DATA_DIR: join(directory, "data"),
    MOIETY_MODEL_REPOSITORY: folders,
    MOIETY_MODEL_REPOSITORY_POLL_SECONDS: "1",
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  await eventually(async () => (await fetch(`${url}/v2/health/ready`)).status === 200 || undefined);
  for (const [model, version] of [["plain"], ["triton"], ["own", "3"]] as const)
    await eventually(async () => (await entry(model, version))?.state === "READY" || undefined);
  await eventually(async () => (await entry("sequences"))?.reason || undefined);
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

test("serves what lies in the folders, under its own version numbers", async () => {
  expect(await answer("plain")).toEqual([3, 5, 7]);
  expect(await answer("triton", 1)).toEqual([4, 7, 10]);
  expect(await answer("own", 3)).toEqual([5, 9, 13]);
});

test("serves as the folder's configuration says, Triton's or its own", async () => {
  expect((await ask("GET", "/v2/models/triton/config")).json).toMatchObject({
    max_batch_size: 8,
    version_policy: { all: {} },
    dynamic_batching: { max_queue_delay_microseconds: 200 },
  });
  expect((await ask("GET", "/v2/models/own/config")).json).toMatchObject({ max_batch_size: 2 });
  const { json } = await ask("POST", "/v2/models/triton/infer", {
    inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [3, 1, 2] }],
    outputs: [{ name: "y", parameters: { classification: 2 } }],
  });
  expect(json.outputs).toMatchObject([{ data: ["10.000000:0:ant", "7.000000:2:cat"] }]);
});

test("names in the index what could not be taken in, and why", async () => {
  expect(await entry("garbage")).toMatchObject({
    state: "UNAVAILABLE",
    reason: expect.stringContaining("not an ONNX model"),
  });
  expect(await entry("empty", "")).toMatchObject({
    state: "UNAVAILABLE",
    reason: expect.stringContaining("no version folder"),
  });
  expect(await entry("sequences")).toMatchObject({
    state: "UNAVAILABLE",
    reason: expect.stringContaining("sequence_batching"),
  });
  expect((await infer("garbage")).status).toBe(404);
  expect((await infer("sequences")).status).toBe(404);
  expect(await ask("POST", "/v2/repository/models/sequences/load")).toMatchObject({
    status: 422,
    json: { type: "LOAD_FAILED", error: expect.stringContaining("sequence_batching") },
  });
});

test("takes in a version that is added, and one that is mended", async () => {
  await put("plain/2/model.onnx", affineModel({ scale: 20 }));
  await put("garbage/1/model.onnx", affineModel({ scale: 5 }));
  await eventually(async () => (await entry("plain", "2"))?.state === "READY" || undefined);
  await eventually(async () => (await entry("garbage"))?.state === "READY" || undefined);
  expect(await answer("plain")).toEqual([21, 41, 61]);
  expect(await answer("plain", 1)).toEqual([3, 5, 7]);
  expect(await answer("garbage")).toEqual([6, 11, 16]);
});

test("goes on serving a version whose folder got another file, and says so", async () => {
  await put("own/3/model.onnx", affineModel({ scale: 9 }));
  const changed = await eventually(async () => {
    const found = await entry("own", "3");
    return found?.reason ? found : undefined;
  });
  expect(changed).toMatchObject({ state: "READY", reason: expect.stringContaining("versions never change") });
  expect(await answer("own", 3)).toEqual([5, 9, 13]);
});

test("follows a configuration that changes", async () => {
  await put("triton/config.pbtxt", 'default_model_filename: "other.onnx" max_batch_size: 4');
  await eventually(async () => {
    const { json } = await ask("GET", "/v2/models/triton/config");
    return json.max_batch_size === 4 || undefined;
  });
  expect(await answer("triton")).toEqual([4, 7, 10]);
});

test("unloads a model whose folder goes, and serves it again when it is back", async () => {
  await rename(join(folders, "plain"), join(directory, "away"));
  await eventually(async () => (await infer("plain")).status === 503 || undefined);
  expect(await answer("garbage")).toEqual([6, 11, 16]);
  await rename(join(directory, "away"), join(folders, "plain"));
  await eventually(async () => (await entry("plain", "2"))?.state === "READY" || undefined);
  expect(await answer("plain")).toEqual([21, 41, 61]);
});

test("serves what moves in as a whole", async () => {
  await mkdir(join(directory, "staging/1"), { recursive: true });
  await copyFile(join(folders, "plain/1/model.onnx"), join(directory, "staging/1/model.onnx"));
  await rename(join(directory, "staging"), join(folders, "moved"));
  expect(await eventually(() => answer("moved"))).toEqual([3, 5, 7]);
});

test("runs an ensemble that Triton's configuration schedules over models of other folders", async () => {
  await mkdir(join(folders, "chain/1"), { recursive: true });
  await put(
    "chain/config.pbtxt",
    `platform: "ensemble" max_batch_size: 8
     input [ { name: "in" data_type: TYPE_FP32 dims: [ 3 ] } ]
     output [ { name: "out" data_type: TYPE_FP32 dims: [ 3 ] } ]
     ensemble_scheduling { step [
       { model_name: "own" model_version: 3 input_map { key: "x" value: "in" } output_map { key: "y" value: "middle" } },
       { model_name: "garbage" model_version: -1 input_map { key: "x" value: "middle" } output_map { key: "y" value: "out" } }
     ] }`,
  );
  await eventually(async () => (await entry("chain"))?.state === "READY" || undefined);
  const { json } = await ask("POST", "/v2/models/chain/infer", {
    inputs: [{ name: "in", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
  });
  // 4x + 1, then 5x + 1.
  expect(json.outputs).toMatchObject([{ name: "out", data: [26, 46, 66] }]);
});
