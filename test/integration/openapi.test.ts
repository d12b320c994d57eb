/**
 * The OpenAPI description against the outside: it is valid by the specification's own schema, it describes every route
 * and nothing else, and what really goes over HTTP fits its schemas: every operation is asked, each request that is
 * answered well must fit the request's schema, and each answer the schema of its status. What schemas refuse, the
 * server refuses.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { OPERATIONS } from "../../lib/openapi/operations.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { affineModel, convolutionalModel, ElementType, identityModel } from "../fixtures/onnx-models.ts";
import { ScriptedTrainer } from "../fixtures/scripted-trainer.ts";

type Content = Record<string, { schema?: object }>;
type Operation = {
  operationId: string;
  tags?: string[];
  requestBody?: { content: Content; required: boolean };
  responses: Record<string, { content?: Content }>;
};
type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; responses: Operation["responses"] };
};

let directory: string;
let broker: ServiceBroker;
let url: string;
let description: Document;
const trainer = new ScriptedTrainer();
const asked = new Set<string>();
const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-openapi-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  trainer.attach(broker);
  await broker.waitForServices("trainer");
  url = gatewayUrl(broker);
  await publish("affine", affineModel({ width: 1 }));
  await publish("classes", identityModel(ElementType.FLOAT), ["no", "yes"]);
  await publish("mnist", convolutionalModel(), [..."0123456789"]);
  await callOf(broker)("registry.setAlias", { model: "affine", alias: "stable", version: 1 });
  for (const scale of [2, 3]) await publish("rolled", affineModel({ width: 1, scale }));
  await callOf(broker)("registry.setAlias", { model: "rolled", alias: "production", version: 1 });
  description = (await (await fetch(`${url}/openapi.json`)).json()) as Document;
  ajv.addSchema(detached({ $id: "openapi", $defs: description.components.schemas }));
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function publish(model: string, bytes: Uint8Array, labels: string[] = []): Promise<void> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const signature = {
    inputs: [{ name: "x", datatype: "FP32" as const, shape: [-1] }],
    outputs: [{ name: "y", datatype: "FP32" as const, shape: [-1] }],
  };
  await callOf(broker)("registry.publish", { model, artifacts: { onnx }, signature, labels });
  await eventually(async () => (await callOf(broker)("inference.ready", { model })).ready || undefined);
}

/** The same schema outside the document: its references lead to what the validator knows as "openapi". */
function detached(schema: object): object {
  return JSON.parse(
    JSON.stringify(schema).replaceAll('"#/components/schemas/', '"openapi#/$defs/'),
  ) as object;
}

function operationOf(key: string): Operation {
  const [method, path] = key.split(" ") as [string, string];
  const operation = description.paths[path]?.[method.toLowerCase()];
  if (!operation) throw new Error(`${key} is not described`);
  return operation;
}

function faults(schema: object | undefined, value: unknown): string[] {
  if (!schema) return [];
  const validate = ajv.compile(detached(schema));
  return validate(value)
    ? []
    : validate.errors!.map(({ instancePath, message }) => `${instancePath} ${message}`);
}

/** The answer to a request, which is checked, as it is, against the description. */
async function exchange(
  key: string,
  path: string,
  body?: object,
): Promise<{ status: number; value: unknown }> {
  asked.add(key);
  const [method] = key.split(" ");
  const operation = operationOf(key);
  const response = await fetch(url + path, {
    method: method!,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const { status } = response;
  const type = response.headers.get("content-type")!.split(";")[0]!;
  const text = await response.text();
  const value: unknown = type === "application/json" ? JSON.parse(text) : text;

  const content = (operation.responses[status] ?? description.components.responses.Error)!.content!;
  expect({ key, status, type: Object.keys(content) }).toEqual({
    key,
    status,
    type: expect.arrayContaining([type]),
  });
  expect({ key, status, answer: faults(content[type]!.schema, value) }).toEqual({ key, status, answer: [] });
  const requestSchema = operation.requestBody?.content["application/json"]?.schema;
  if (body !== undefined && status < 300)
    expect({ key, request: faults(requestSchema, body) }).toEqual({ key, request: [] });
  return { status, value };
}

const INFER = { inputs: [{ name: "x", shape: [1, 1], datatype: "FP32", data: [[1]] }] };
const ENSEMBLE = {
  inputs: [{ name: "x", datatype: "FP32", shape: [-1] }],
  outputs: [{ name: "y", datatype: "FP32", shape: [-1] }],
  steps: [
    { name: "twice", operators: [{ operator: "scale", scale: 2, inputs: ["x"], outputs: ["z"] }] },
    { name: "later", model: "unknown", version: "production", inputs: { x: "z" }, outputs: { y: "y" } },
  ],
};
const JOB = {
  model: "mine",
  architecture: { class_name: "Sequential", config: { layers: [] } },
  data: { dataset: "mnist", trainLimit: 10 },
  loss: "mse",
  optimizer: { class_name: "Adam", config: {} },
};

/** Operation, path, body, status. Every operation has one that is answered well. */
const EXCHANGES: readonly [string, string, object | undefined, number][] = [
  ["GET /", "/", undefined, 200],
  ["GET /metrics", "/metrics", undefined, 200],
  ["GET /openapi.json", "/openapi.json", undefined, 200],
  ["GET /docs", "/docs", undefined, 200],
  ["GET /v2", "/v2", undefined, 200],
  ["GET /v2/health/live", "/v2/health/live", undefined, 200],
  ["GET /v2/health/ready", "/v2/health/ready", undefined, 200],
  ["GET /v2/models/{model}", "/v2/models/affine", undefined, 200],
  ["GET /v2/models/{model}", "/v2/models/nosuch", undefined, 404],
  ["GET /v2/models/{model}/versions/{version}", "/v2/models/affine/versions/1", undefined, 200],
  ["GET /v2/models/{model}/ready", "/v2/models/affine/ready", undefined, 200],
  [
    "GET /v2/models/{model}/versions/{version}/ready",
    "/v2/models/affine/versions/stable/ready",
    undefined,
    200,
  ],
  ["POST /v2/models/{model}/infer", "/v2/models/affine/infer", { id: "a", ...INFER }, 200],
  ["POST /v2/models/{model}/infer", "/v2/models/affine/infer", { inputs: [] }, 400],
  [
    "POST /v2/models/{model}/versions/{version}/infer",
    "/v2/models/affine/versions/1/infer",
    { ...INFER, outputs: [{ name: "y" }], parameters: { priority: 1, cache: false, other: "x" } },
    200,
  ],
  ["POST /v2/models/{model}/generate", "/v2/models/affine/generate", { id: "a", x: [1, 2] }, 200],
  ["POST /v2/models/{model}/generate", "/v2/models/affine/generate", { x: "no" }, 400],
  [
    "POST /v2/models/{model}/versions/{version}/generate",
    "/v2/models/affine/versions/1/generate",
    { x: 1, parameters: { cache: false } },
    200,
  ],
  ["POST /v2/models/{model}/generate_stream", "/v2/models/affine/generate_stream", { x: [1, 2] }, 200],
  [
    "POST /v2/models/{model}/versions/{version}/generate_stream",
    "/v2/models/affine/versions/1/generate_stream",
    { x: 1 },
    200,
  ],
  ["GET /v2/models/stats", "/v2/models/stats", undefined, 200],
  ["GET /v2/models/{model}/stats", "/v2/models/affine/stats", undefined, 200],
  ["GET /v2/models/{model}/versions/{version}/stats", "/v2/models/affine/versions/1/stats", undefined, 200],
  ["GET /v2/models/{model}/config", "/v2/models/affine/config", undefined, 200],
  ["GET /v2/models/{model}/versions/{version}/config", "/v2/models/affine/versions/1/config", undefined, 200],
  ["POST /v2/repository/index", "/v2/repository/index", { ready: true }, 200],
  ["POST /v2/repository/index", "/v2/repository/index", undefined, 200],
  [
    "POST /v2/repository/models/{model}/unload",
    "/v2/repository/models/classes/unload",
    { parameters: { unload_dependents: true } },
    200,
  ],
  ["POST /v2/repository/models/{model}/load", "/v2/repository/models/classes/load", {}, 200],
  ...["", "/versions/1", "/labels/stable"].flatMap(
    (place, i): [string, string, object | undefined, number][] => {
      const template = `/v1/models/{model}${["", "/versions/{version}", "/labels/{label}"][i]}`;
      const path = `/v1/models/affine${place}`;
      // A label is an alias, and the classifier has none.
      const classifier = i === 2 ? path : `/v1/models/classes${place}`;
      return [
        [`POST ${template}:predict`, `${path}:predict`, { instances: [[1], [2]] }, 200],
        [`POST ${template}:predict`, `${path}:predict`, { inputs: { x: [[1]] } }, 200],
        [`POST ${template}:predict`, `${path}:predict`, {}, 400],
        [`POST ${template}:regress`, `${path}:regress`, { context: { x: 1 }, examples: [{}] }, 200],
        [`POST ${template}:regress`, `${path}:regress`, { examples: [] }, 400],
        [
          `POST ${template}:classify`,
          `${classifier}:classify`,
          { examples: [{ x: [1, 2] }] },
          i === 2 ? 400 : 200,
        ],
        [`GET ${template}`, path, undefined, 200],
        [`GET ${template}/metadata`, `${path}/metadata`, undefined, 200],
      ];
    },
  ),
  ["GET /v1/models", "/v1/models", undefined, 200],
  ["POST /predict", "/predict", { image: Array(784).fill(1), scale: 1, cache: false }, 200],
  ["POST /predict", "/predict", { image: [Array(784).fill(7), Array(784).fill(9)], version: 1 }, 200],
  ["POST /predict", "/predict", { image: [1], color: "red" }, 400],
  ["GET /api/models", "/api/models", undefined, 200],
  ["GET /api/models/{model}", "/api/models/affine", undefined, 200],
  ["GET /api/models/{model}/versions/{version}", "/api/models/affine/versions/1", undefined, 200],
  [
    "POST /api/models/{model}/versions",
    "/api/models/twice/versions",
    { ensemble: ENSEMBLE, labels: ["a"] },
    201,
  ],
  [
    "GET /api/models/{model}/versions/{version}/ensemble",
    "/api/models/twice/versions/1/ensemble",
    undefined,
    200,
  ],
  ["GET /api/models/{model}/versions/{version}", "/api/models/twice/versions/1", undefined, 200],
  [
    "GET /api/models/{model}/versions/{version}/ensemble",
    "/api/models/affine/versions/1/ensemble",
    undefined,
    400,
  ],
  ["PUT /api/models/{model}/aliases/{alias}", "/api/models/affine/aliases/other", { version: 1 }, 200],
  ["PUT /api/models/{model}/aliases/{alias}", "/api/models/affine/aliases/other", { version: 0 }, 400],
  [
    "PUT /api/models/{model}/configuration",
    "/api/models/affine/configuration",
    {
      batching: { maxRows: 8, queueDelayMs: 0.5 },
      queue: { maxRequests: 10, timeoutMs: 100, priorityLevels: 3, defaultPriority: 2 },
      versions: { latest: 1 },
      cache: { enabled: false, ttlSeconds: 1 },
    },
    200,
  ],
  [
    "PUT /api/models/{model}/configuration",
    "/api/models/affine/configuration",
    { batching: { maxRows: 0 } },
    400,
  ],
  [
    "PUT /api/models/{model}/rollout",
    "/api/models/rolled/rollout",
    {
      canary: { version: 2, weight: 0.5, bounds: { errorRate: 0, latencyRatio: 1, minRequests: 1 } },
      shadow: { version: 2, share: 0.1, tolerance: 0 },
    },
    200,
  ],
  ["PUT /api/models/{model}/rollout", "/api/models/rolled/rollout", { shadow: { version: 1 } }, 400],
  ["GET /api/models/{model}/rollout", "/api/models/rolled/rollout", undefined, 200],
  ["GET /api/models/{model}", "/api/models/rolled", undefined, 200],
  ["DELETE /api/models/{model}/rollout", "/api/models/rolled/rollout", undefined, 200],
  ["GET /api/models/{model}/rollout", "/api/models/rolled/rollout", undefined, 200],
  ["GET /api/models/{model}/rollout", "/api/models/nosuch/rollout", undefined, 404],
  ["POST /api/jobs", "/api/jobs", JOB, 202],
  ["GET /api/jobs", "/api/jobs?state=running&limit=3", undefined, 200],
  ["GET /api/jobs", "/api/jobs?limit=0", undefined, 400],
  ["GET /api/jobs/{id}", "/api/jobs/job%201", undefined, 200],
  ["GET /api/jobs/{id}", "/api/jobs/nosuch", undefined, 404],
  ["POST /api/jobs/{id}/cancel", "/api/jobs/job%201/cancel", undefined, 202],
  ["DELETE /api/jobs/{id}", "/api/jobs/job%201", undefined, 202],
];

describe("the OpenAPI description", () => {
  test("is valid by the specification's own schema", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(description));
    expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
  });

  test("describes every route that is served, and no other", async () => {
    const index = (await (await fetch(url)).json()) as { routes: string[] };
    const served = [...index.routes, "GET /"].toSorted();
    const listed = Object.entries(description.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(listed.toSorted()).toEqual(served);
    expect(Object.keys(OPERATIONS).toSorted()).toEqual(served);
    const ids = listed.map((key) => operationOf(key).operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test.each(EXCHANGES)("fits what really happens on %s: %s", async (key, path, body, status) => {
    const answer = await exchange(key, path, body);
    expect(answer).toMatchObject({ status });
    // What a schema allows may still be wrong; what it forbids, the server must not take.
    const schema = operationOf(key).requestBody?.content["application/json"]?.schema;
    if (body !== undefined && faults(schema, body).length > 0) expect(status).toBe(400);
  });

  test("fits the events of a job, which come as a stream", async () => {
    const job = trainer.add("streamed", JOB);
    trainer.end(job.id);
    await exchange("GET /api/jobs/{id}/events", "/api/jobs/streamed/events");
  });

  test("has been compared on every operation", () => {
    expect(Object.keys(OPERATIONS).filter((key) => !asked.has(key))).toEqual([]);
  });

  test.each([
    [
      "POST /v2/models/{model}/infer",
      "/v2/models/affine/infer",
      { inputs: [{ ...INFER.inputs[0], datatype: "FP31" }] },
    ],
    ["POST /v2/models/{model}/infer", "/v2/models/affine/infer", { ...INFER, id: 5 }],
    ["POST /v2/models/{model}/infer", "/v2/models/affine/infer", { ...INFER, parameters: { a: {} } }],
    ["POST /v1/models/{model}:predict", "/v1/models/affine:predict", { instances: [[1]], inputs: [[1]] }],
    ["POST /v1/models/{model}:predict", "/v1/models/affine:predict", { instances: [] }],
    ["POST /v1/models/{model}:regress", "/v1/models/affine:regress", { examples: [{ x: [[1]] }] }],
    ["POST /predict", "/predict", { image: 1 }],
    ["POST /predict", "/predict", { image: Array(784).fill(1), scale: 2 }],
    ["PUT /api/models/{model}/configuration", "/api/models/affine/configuration", { cache: { ttl: 1 } }],
    ["PUT /api/models/{model}/configuration", "/api/models/affine/configuration", { versions: "none" }],
    ["PUT /api/models/{model}/rollout", "/api/models/rolled/rollout", { canary: { version: 2 } }],
    ["PUT /api/models/{model}/rollout", "/api/models/rolled/rollout", { canary: { version: 2, weight: 0 } }],
    [
      "POST /api/models/{model}/versions",
      "/api/models/twice/versions",
      { ensemble: { ...ENSEMBLE, steps: [] } },
    ],
    ["POST /api/models/{model}/versions", "/api/models/twice/versions", { ensemble: ENSEMBLE, label: [] }],
    ["POST /v2/repository/index", "/v2/repository/index", { ready: 1 }],
    [
      "POST /v2/repository/models/{model}/load",
      "/v2/repository/models/affine/load",
      { parameters: { config: "" } },
    ],
  ])("refuses what the server refuses on %s", async (key, path, body) => {
    const schema = operationOf(key).requestBody!.content["application/json"]!.schema;
    expect(faults(schema, body)).not.toEqual([]);
    expect(await exchange(key, path, body)).toMatchObject({ status: 400 });
  });
});

describe("the page at /docs", () => {
  test("stands alone: its style and script are inside, and allowed by their hashes", async () => {
    const response = await fetch(`${url}/docs`);
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const html = await response.text();
    expect(html).not.toMatch(/https?:\/\//);
    expect(html).not.toMatch(/\bsrc=|<link/);
    const policy = response.headers.get("content-security-policy")!;
    for (const tag of ["style", "script"]) {
      const inside = new RegExp(`<${tag}>(.*?)</${tag}>`, "s").exec(html)![1]!;
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(inside));
      expect(policy).toContain(`${tag}-src 'sha256-${Buffer.from(digest).toString("base64")}'`);
    }
  });
});
