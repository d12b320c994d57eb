/** Canaries and shadows in front of real models: who answers, what is counted, and how a canary ends. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import type { Rollout } from "../../lib/protocol/models.ts";
import type { RolloutReport } from "../../lib/protocol/rollout.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { affineModel, convolutionalModel, heavyModel, lookupModel } from "../fixtures/onnx-models.ts";

type Status = {
  rollout?: Rollout;
  rollbacks: { version: number; reason: string }[];
  nodes: [RolloutReport];
};

let directory: string;
let broker: ServiceBroker;
let call: Call;
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-rollout-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  call = callOf(broker);
  url = gatewayUrl(broker);
});
afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** A model of these versions, the first of them in production. */
async function publish(model: string, versions: Uint8Array[], labels: string[][] = []): Promise<void> {
  const store = await openStore({ kind: "files", directory });
  for (const [i, bytes] of versions.entries()) {
    const onnx = await store.artifacts.put(bytes);
    const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
    await call("registry.publish", {
      model,
      artifacts: { onnx },
      signature: { inputs: spec, outputs: spec },
      labels: labels[i] ?? [],
    });
  }
  await store.close();
  await call("registry.setAlias", { model, alias: "production", version: 1 });
  await eventually(async () => (await call("inference.ready", { model })).ready || undefined);
}

async function ask<T = unknown>(method: string, path: string, body?: object) {
  const response = await fetch(url + path, { method, ...(body && { body: JSON.stringify(body) }) });
  return { status: response.status, json: (await response.json()) as T };
}
const status = async (model: string) => (await ask<Status>("GET", `/api/models/${model}/rollout`)).json;
const rollOut = (model: string, rollout: Rollout) => ask("PUT", `/api/models/${model}/rollout`, rollout);
/** Once the node has the version that is tried. */
async function rollOutReady(model: string, rollout: Rollout): Promise<void> {
  expect((await rollOut(model, rollout)).status).toBe(200);
  await eventually(async () => {
    const [{ canary, shadow }] = (await status(model)).nodes;
    const parts = [rollout.canary && canary, rollout.shadow && shadow].filter((part) => part !== undefined);
    return (parts.length > 0 && parts.every(({ state }) => state === "ready")) || undefined;
  });
}

type Answer = { model_version: string; outputs: { name: string; data: number[] }[] };
const affine = (model: string, version?: string, cache = false) =>
  ask<Answer>("POST", `/v2/models/${model}${version ? `/versions/${version}` : ""}/infer`, {
    parameters: { cache },
    inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
  });
const WIDTH = 512;
const heavy = (model: string) =>
  ask<Answer>("POST", `/v2/models/${model}/infer`, {
    parameters: { cache: false },
    inputs: [{ name: "x", shape: [1, WIDTH], datatype: "FP32", data: Array(WIDTH).fill(1) }],
  });
/** Row `index` of the table; the canary's table is too short for 500. */
const lookUp = (model: string, index: number, version?: string) =>
  ask<Answer>("POST", `/v2/models/${model}${version ? `/versions/${version}` : ""}/infer`, {
    parameters: { cache: false },
    inputs: [
      { name: "index", shape: [1], datatype: "INT64", data: [index] },
      { name: "x", shape: [1, 2], datatype: "FP32", data: [1, 2] },
    ],
  });

test("shares what names no version, or production, and nothing else; each answer says whose it is", async () => {
  await publish("shared", [affineModel({ scale: 10 }), affineModel({ scale: 20 })]);
  await rollOutReady("shared", { canary: { version: 2, weight: 0.5 } });
  const seen = new Set<string>();
  await eventually(async () => {
    for (const version of [undefined, "production"]) {
      const { status, json } = await affine("shared", version, version === undefined);
      expect(status).toBe(200);
      seen.add(`${json.model_version} ${json.outputs[0]!.data[0]}`);
    }
    return seen.size > 1 || undefined;
  });
  expect([...seen].sort()).toEqual(["1 11", "2 21"]);
  for (let n = 0; n < 20; n++) {
    expect((await affine("shared", "1")).json.model_version).toBe("1");
    expect((await affine("shared", "2")).json.model_version).toBe("2");
  }
  await call("registry.setAlias", { model: "shared", alias: "production", version: 2 });
  expect(await status("shared")).toMatchObject({ rollbacks: [], nodes: [{ model: "shared" }] });
  expect((await status("shared")).rollout).toBeUndefined();
});

test("keeps the requests of one affinity key with one version, over HTTP", async () => {
  await publish("sticky", [affineModel({ scale: 10 }), affineModel({ scale: 20 })]);
  await rollOutReady("sticky", { canary: { version: 2, weight: 0.5 } });
  const body = JSON.stringify({
    parameters: { cache: false },
    inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }],
  });
  const ask = async (key: string) => {
    const headers = { "X-Affinity-Key": key };
    const response = await fetch(`${url}/v2/models/sticky/infer`, { method: "POST", body, headers });
    return ((await response.json()) as Answer).model_version;
  };
  const keys = Array.from({ length: 30 }, (_, n) => `user ${n}`);
  const first = await Promise.all(keys.map(ask));
  expect(new Set(first)).toEqual(new Set(["1", "2"]));
  for (let n = 0; n < 5; n++) expect(await Promise.all(keys.map(ask))).toEqual(first);
});

test("names classes as the version that answered does", async () => {
  const names = (of: string) => Array.from({ length: 10 }, (_, n) => `${of}${n}`);
  await publish("named", [convolutionalModel(1), convolutionalModel(1)], [names("v1-"), names("v2-")]);
  await rollOutReady("named", { canary: { version: 2, weight: 0.5 } });
  const seen = new Set<string>();
  const image = Array(784).fill(1);
  await eventually(async () => {
    const plain = await ask<{ label: string; version: string }>("POST", "/predict", {
      model: "named",
      image,
      cache: false,
    });
    expect(plain.json.label).toMatch(`v${plain.json.version}-`);
    const infer = await ask<Answer & { outputs: { data: string[] }[] }>("POST", "/v2/models/named/infer", {
      parameters: { cache: false },
      inputs: [{ name: "image", shape: [1, 28, 28, 1], datatype: "FP32", data: image }],
      outputs: [{ name: "probabilities", parameters: { classification: 1 } }],
    });
    expect(infer.json.outputs[0]!.data[0]).toContain(`:v${infer.json.model_version}-`);
    seen.add(plain.json.version);
    return seen.size > 1 || undefined;
  });
});

test("takes a canary back that fails, while every caller is answered", async () => {
  await publish("failing", [lookupModel(1000), lookupModel(10)]);
  await rollOutReady("failing", {
    canary: { version: 2, weight: 0.5, bounds: { errorRate: 0.2, minRequests: 10 } },
  });
  const answers: string[] = [];
  await eventually(async () => {
    const { status: code, json } = await lookUp("failing", answers.length % 2 === 0 ? 500 : 5);
    answers.push(`${code} ${json.outputs[0]!.data[0]}`);
    return (await status("failing")).rollbacks.length === 1 || undefined;
  });
  expect(new Set(answers)).toEqual(new Set(["200 500", "200 5"]));
  const { rollbacks, rollout } = await status("failing");
  expect(rollout).toBeUndefined();
  expect(rollbacks).toEqual([
    {
      version: 2,
      at: expect.any(String),
      reason: expect.stringMatching(/requests \(\d.*%\) failed, more than/),
    },
  ]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(/^moiety_rollout_rollbacks\{[^}]*cause="errorRate"[^}]*\} 1\b/m);
  expect(metrics).toMatch(/^moiety_rollout_canary_requests\{[^}]*outcome="EXECUTION_FAILED"/m);
  for (let n = 0; n < 20; n++) expect((await lookUp("failing", 500)).json.model_version).toBe("1");
  expect((await lookUp("failing", 500, "2")).status).toBe(500);
});

test("takes a canary back that is slow", async () => {
  // So much slower that a busy machine's pauses do not make production look alike.
  await publish("slow", [heavyModel(WIDTH, 1), heavyModel(WIDTH, 1500)]);
  await rollOutReady("slow", {
    canary: { version: 2, weight: 0.5, bounds: { latencyRatio: 2, minRequests: 10 } },
  });
  await eventually(async () => {
    expect((await heavy("slow")).status).toBe(200);
    return (await status("slow")).rollbacks.length === 1 || undefined;
  });
  expect((await status("slow")).rollbacks[0]!.reason).toContain("times production's");
  for (let n = 0; n < 20; n++) expect((await heavy("slow")).json.model_version).toBe("1");
});

test("takes a canary back that cannot be loaded, with why", async () => {
  await publish("broken", [affineModel({ scale: 10 }), new Uint8Array([1, 2, 3])]);
  await rollOut("broken", { canary: { version: 2, weight: 1 } });
  await eventually(async () => {
    expect((await affine("broken")).json.model_version).toBe("1");
    return (await status("broken")).rollbacks.length === 1 || undefined;
  });
  const { rollout, rollbacks } = await status("broken");
  expect(rollout).toBeUndefined();
  expect(rollbacks[0]!.reason).toContain("it could not be loaded: ");
});

test("compares a shadow's answers with production's, which alone are given", async () => {
  await publish("mirrored", [affineModel({ scale: 10 }), affineModel({ scale: 10.5 })]);
  const counted = (count: (shadow: NonNullable<RolloutReport["shadow"]>) => number) =>
    eventually(async () => {
      const answer = await affine("mirrored");
      expect([answer.status, answer.json.model_version]).toEqual([200, "1"]);
      const { shadow } = (await status("mirrored")).nodes[0];
      return shadow && count(shadow) >= 3 ? shadow : undefined;
    });
  await rollOutReady("mirrored", { shadow: { version: 2 } });
  expect(await counted(({ differed }) => differed)).toMatchObject({
    matched: 0,
    failed: 0,
    maxDifference: 1.5,
    p95Ms: { shadow: expect.any(Number), production: expect.any(Number) },
  });
  await rollOutReady("mirrored", { shadow: { version: 2, tolerance: 1.6 } });
  expect(await counted(({ matched }) => matched)).toMatchObject({ differed: 0, failed: 0 });
  expect((await ask("DELETE", "/api/models/mirrored/rollout")).status).toBe(200);
  expect((await status("mirrored")).rollout).toBeUndefined();
});

test("counts what a shadow fails at, and gives production's answer", async () => {
  await publish("poor", [lookupModel(1000), lookupModel(10)]);
  await rollOutReady("poor", { shadow: { version: 2 } });
  const shadow = await eventually(async () => {
    expect((await lookUp("poor", 500)).json.outputs[0]!.data).toEqual([500, -500]);
    const { shadow: seen } = (await status("poor")).nodes[0];
    return seen && seen.failed > 2 ? seen : undefined;
  });
  expect(shadow).toMatchObject({
    matched: 0,
    differed: 0,
    lastFailure: expect.stringContaining("version '2'"),
  });
});

test("refuses a rollout by the field that is wrong", async () => {
  await publish("refused", [affineModel({ scale: 10 }), affineModel({ scale: 20 })]);
  expect(await rollOut("refused", { canary: { version: 2, weight: 2 } })).toMatchObject({
    status: 400,
    json: { type: "INVALID_INPUT", data: { field: "rollout.canary.weight" } },
  });
  expect(await rollOut("refused", { canary: { version: 3, weight: 1 } })).toMatchObject({
    status: 404,
    json: { type: "MODEL_VERSION_NOT_FOUND" },
  });
  expect(await rollOut("nosuch", {})).toMatchObject({ status: 404, json: { type: "MODEL_NOT_FOUND" } });
});
