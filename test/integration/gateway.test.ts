/** The gateway over real HTTP, in front of the real registry and inference; training is scripted. */

import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { type Config, readConfig } from "../../lib/config.ts";
import { ExecutionError, QueueFullError } from "../../lib/errors.ts";
import { assertPortFree } from "../../lib/http/port.ts";
import { openStore } from "../../lib/store/open-store.ts";
import type { TensorSpec } from "../../lib/tensor/tensor.ts";
import { callOf } from "../../mixins/config.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import gatewayService from "../../services/gateway.service.ts";
import { eventually, settled } from "../fixtures/eventually.ts";
import { liveBytes } from "../fixtures/live-bytes.ts";
import { convolutionalModel, random } from "../fixtures/onnx-models.ts";
import { openSocket, readAnswer } from "../fixtures/raw-http.ts";
import { ScriptedTrainer } from "../fixtures/scripted-trainer.ts";

const MAX_BODY_BYTES = 256 * 1024;
const INPUT: TensorSpec = { name: "image", datatype: "FP32", shape: [-1, 28, 28, 1] };
const OUTPUT: TensorSpec = { name: "probabilities", datatype: "FP32", shape: [-1, 10] };
const LABELS = [..."0123456789"];

const flat = Array.from(random(7, 784, 255), Math.abs).map(Math.round);
const rows = Array.from({ length: 28 }, (_, row) => flat.slice(row * 28, row * 28 + 28));

type Json = Record<string, unknown>;
type Answer = { status: number; headers: Headers; json: Json };

let directory: string;
let broker: ServiceBroker;
let url: string;
const trainer = new ScriptedTrainer();

function configWith(variables: Record<string, string> = {}): Config {
  return readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_HTTP_MAX_BODY_BYTES: String(MAX_BODY_BYTES),
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
    ...variables,
  });
}

async function ask(
  method: string,
  path: string,
  body?: string | Uint8Array<ArrayBuffer> | object,
  headers?: Record<string, string>,
): Promise<Answer> {
  const plain = body !== undefined && Object.getPrototypeOf(body) === Object.prototype;
  const response = await fetch(url + path, {
    method,
    ...(body === undefined ? {} : { body: plain ? JSON.stringify(body) : (body as string) }),
    ...(headers ? { headers } : {}),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    json: text === "" ? {} : (JSON.parse(text) as Json),
  };
}

const infer = (changes: object = {}) => ({
  inputs: [{ name: "image", shape: [1, 28, 28, 1], datatype: "FP32", data: flat, ...changes }],
});

async function publish(model: string): Promise<void> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(convolutionalModel());
  await store.close();
  const signature = { inputs: [INPUT], outputs: [OUTPUT] };
  await callOf(broker)("registry.publish", { model, artifacts: { onnx }, signature, labels: LABELS });
  await eventually(async () => (await callOf(broker)("inference.ready", { model })).ready || undefined);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-gateway-"));
  broker = await startNode(configWith(), ["registry", "inference", "gateway"]);
  trainer.attach(broker);
  await broker.waitForServices("trainer");
  url = gatewayUrl(broker);
  await publish("mnist");
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("the Open Inference Protocol", () => {
  test("answers health, server and model metadata", async () => {
    expect((await ask("GET", "/v2/health/live")).json).toEqual({ live: true });
    expect((await ask("GET", "/v2/health/ready")).json).toEqual({ ready: true });
    expect((await ask("GET", "/v2")).json).toMatchObject({ name: "moiety" });
    expect((await ask("GET", "/v2/models/mnist")).json).toMatchObject({
      name: "mnist",
      inputs: [INPUT],
      outputs: [OUTPUT],
    });
    expect((await ask("GET", "/v2/models/mnist/ready")).json).toMatchObject({ name: "mnist", ready: true });
    expect((await ask("GET", "/v2/models/mnist/versions/1/ready")).status).toBe(200);
  });

  test("infers from flat and from nested data alike, and echoes the id", async () => {
    const { status, json } = await ask("POST", "/v2/models/mnist/infer", { id: "a-1", ...infer() });
    expect(status).toBe(200);
    expect(json).toMatchObject({ model_name: "mnist", model_version: "1", id: "a-1" });
    const [output] = json.outputs as { name: string; shape: number[]; data: number[] }[];
    expect(output).toMatchObject({ name: "probabilities", shape: [1, 10] });
    expect(output!.data.reduce((sum, value) => sum + value)).toBeCloseTo(1, 5);
    const nested = [rows.map((row) => row.map((value) => [value]))];
    const again = await ask("POST", "/v2/models/mnist/versions/1/infer", infer({ data: nested }));
    expect(again.json.outputs).toEqual(json.outputs);
    const router = await ask("POST", "/v2/models/mnist/infer?unknown=query&strings=ignored", infer());
    expect(router.json.outputs).toEqual(json.outputs);
  });

  test("keeps a request from the cache by parameter and by header", async () => {
    await ask("POST", "/v2/models/mnist/infer", infer());
    const hits = () => metricValue("moiety_cache_hits");
    const before = await hits();
    await ask("POST", "/v2/models/mnist/infer", { ...infer(), parameters: { cache: false } });
    await ask("POST", "/v2/models/mnist/infer", infer(), { "Moiety-Cache": "off" });
    expect(await hits()).toBe(before);
    await ask("POST", "/v2/models/mnist/infer", infer());
    expect(await hits()).toBe(before + 1);
  });

  test.each([
    ["an unknown model", "nosuch", infer(), 404, "MODEL_NOT_FOUND", "Request for unknown model"],
    [
      "an unknown version",
      "mnist/versions/9",
      infer(),
      404,
      "MODEL_VERSION_NOT_FOUND",
      "Request for unknown model",
    ],
    ["an unknown input", "mnist", infer({ name: "nosuch" }), 400, "INVALID_INPUT", "nosuch"],
    [
      "another datatype",
      "mnist",
      infer({ datatype: "INT32", data: flat.map(Math.round) }),
      400,
      "INVALID_INPUT",
      "FP32",
    ],
    ["half precision", "mnist", infer({ datatype: "FP16" }), 400, "INVALID_INPUT", "FP16 as JSON"],
    ["another shape", "mnist", infer({ shape: [1, 784] }), 400, "INVALID_INPUT", "[1,784]"],
    ["a short array", "mnist", infer({ data: [1] }), 400, "INVALID_INPUT", "1 elements"],
    [
      "null for a number",
      "mnist",
      infer({ data: [null, ...flat.slice(1)] }),
      400,
      "INVALID_INPUT",
      "data[0]: received null",
    ],
    [
      "an unknown output",
      "mnist",
      { ...infer(), outputs: [{ name: "nosuch" }] },
      400,
      "INVALID_INPUT",
      "nosuch",
    ],
    ["no inputs", "mnist", {}, 400, "INVALID_INPUT", "inputs"],
  ])("refuses %s", async (_, model, body, status, type, message) => {
    const answer = await ask("POST", `/v2/models/${model}/infer`, body);
    expect(answer).toMatchObject({ status, json: { type } });
    expect(answer.json.error).toContain(message);
  });
});

describe("POST /predict", () => {
  test("answers one image in every layout with the same class, and a batch with arrays", async () => {
    const { status, json } = await ask("POST", "/predict", { image: rows });
    expect(status).toBe(200);
    expect(json).toMatchObject({ model: "mnist", version: "1", prediction: expect.any(Number) });
    expect((await ask("POST", "/predict", { image: flat })).json).toEqual(json);
    const batch = (await ask("POST", "/predict", { image: [rows, rows, rows] })).json;
    expect(batch.prediction).toEqual([json.prediction, json.prediction, json.prediction]);
    expect((batch.probabilities as number[][])[2]).toHaveLength(10);
    const scaled = {
      image: flat.map((value) => value / 255),
      scale: 1,
      model: "mnist",
      version: 1,
      cache: false,
    };
    expect((await ask("POST", "/predict", scaled)).json.prediction).toBe(json.prediction);
  });

  test("falls back to the only model there is when the default one does not exist", async () => {
    const other = await startOther("only", async (base) => {
      const response = await fetch(`${base}/predict`, {
        method: "POST",
        body: JSON.stringify({ image: rows }),
      });
      return (await response.json()) as Json;
    });
    expect(other).toMatchObject({ model: "only" });
  });

  test.each([
    ["a ragged image", { image: [...rows.slice(0, 27), [1]] }, "image[27]"],
    ["a wrong length", { image: [1, 2, 3] }, "received 3 values, expected 28x28x1, 28x28, 784 values"],
    ["a string", { image: "x" }, 'received "x"'],
    ["null", { image: [null, ...flat.slice(1)] }, "image[0]: received null"],
    ["values above the declared scale", { image: flat, scale: 1 }, "expected a value from 0 to 1"],
    ["nothing", {}, "image"],
  ])("refuses %s", async (_, body, message) => {
    const answer = await ask("POST", "/predict", body);
    expect(answer).toMatchObject({ status: 400, json: { type: "INVALID_INPUT" } });
    expect(answer.json.error).toContain(message);
  });
});

describe("bodies", () => {
  test.each([
    ["empty", "", "it is empty"],
    ["truncated", JSON.stringify(infer()).slice(0, -5), "position"],
    ["not JSON", "hello", "position 0"],
    ["NaN", '{"image":[NaN]}', "position 10"],
  ])("that are %s are refused with 400 and where", async (_, body, message) => {
    for (const path of ["/predict", "/v2/models/mnist/infer", "/api/jobs"]) {
      const answer = await ask("POST", path, body);
      expect(answer).toMatchObject({ status: 400, json: { type: "MALFORMED_BODY" } });
      expect(answer.json.error).toContain(message);
    }
  });

  test.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    ["deflate without a header", deflateRawSync],
  ])("packed with %s are read", async (name, pack) => {
    const packed = pack(JSON.stringify({ image: flat })) as Uint8Array<ArrayBuffer>;
    const answer = await ask("POST", "/predict", packed, { "Content-Encoding": name.split(" ")[0]! });
    expect(answer.status).toBe(200);
  });

  test("packed otherwise, or badly, or too large once unpacked, are refused", async () => {
    const packed = gzipSync(JSON.stringify({ image: flat })) as Uint8Array<ArrayBuffer>;
    const brotli = await ask("POST", "/predict", packed, { "Content-Encoding": "br" });
    expect(brotli).toMatchObject({ status: 415, json: { type: "UNSUPPORTED_ENCODING" } });
    expect(brotli.headers.get("accept-encoding")).toBe("gzip, deflate");
    const truncated = await ask("POST", "/predict", packed.subarray(0, 50), { "Content-Encoding": "gzip" });
    expect(truncated).toMatchObject({ status: 400, json: { type: "MALFORMED_BODY" } });
    const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20, 32)) as Uint8Array<ArrayBuffer>;
    expect(bomb.length).toBeLessThan(MAX_BODY_BYTES);
    expect(await ask("POST", "/predict", bomb, { "Content-Encoding": "gzip" })).toMatchObject({
      status: 413,
    });
  });

  test("of 100 MB are answered 413 while they are being sent, without being kept", async () => {
    const socket = openSocket(url);
    socket.write(`POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${100 * 2 ** 20}\r\n\r\n`);
    const answer = readAnswer(socket);
    socket.setMaxListeners(0);
    const chunk = Buffer.alloc(2 ** 20, 32);
    const before = liveBytes();
    let kept = 0;
    for (let sent = 0; sent < 100 && !socket.destroyed; sent++) {
      if (!socket.write(chunk))
        await new Promise((resolve) => socket.once("drain", resolve).once("close", resolve));
      if (sent % 10 === 9) kept = Math.max(kept, liveBytes() - before);
    }
    const { status, headers, body } = await answer;
    expect(status).toBe(413);
    expect(headers).toContain("Connection: close");
    expect(JSON.parse(body)).toMatchObject({
      type: "PAYLOAD_TOO_LARGE",
      data: { receivedBytes: 100 * 2 ** 20, limitBytes: MAX_BODY_BYTES },
    });
    expect(kept).toBeLessThan(8 * 2 ** 20);
  });

  test("that are too large without saying so beforehand are answered 413 as well", async () => {
    const stream = new Blob([new Uint8Array(4 * MAX_BODY_BYTES)]).stream();
    const response = await fetch(`${url}/predict`, {
      method: "POST",
      body: stream,
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(413);
    expect(((await response.json()) as Json).type).toBe("PAYLOAD_TOO_LARGE");
  });

  test("that would be too large are refused before they are sent to a client that asks", async () => {
    const socket = openSocket(url);
    socket.write(
      `POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 ** 30}\r\nExpect: 100-continue\r\n\r\n`,
    );
    expect((await readAnswer(socket)).status).toBe(413);
  });

  test("whose client hangs up halfway leave nothing behind", async () => {
    const socket = openSocket(url);
    socket.write("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    await delay(100);
    socket.destroy();
    expect((await ask("POST", "/predict", { image: flat })).status).toBe(200);
  });
});

describe("routes", () => {
  test("answer 404 for unknown paths, and for actions that no route lists", async () => {
    for (const path of [
      "/nosuch",
      "/v2/models/mnist/nosuch",
      "/inference/predict",
      "/registry/list",
      "/~node/list",
    ])
      expect(await ask("GET", path)).toMatchObject({ status: 404, json: { type: "ROUTE_NOT_FOUND" } });
  });

  test("answer 405 with the methods a path does take", async () => {
    for (const [method, path, allowed] of [
      ["GET", "/predict", "POST"],
      ["PUT", "/v2/models/mnist/infer", "POST"],
      ["POST", "/v2/health/live", "GET, HEAD"],
      ["OPTIONS", "/v2", "GET, HEAD"],
      ["PATCH", "/api/jobs/x", "GET, HEAD, DELETE"],
    ] as const) {
      const answer = await ask(method, path);
      expect(answer).toMatchObject({ status: 405, json: { type: "METHOD_NOT_ALLOWED" } });
      expect(answer.headers.get("allow")).toBe(allowed);
    }
  });

  test("answer HEAD as GET, without a body", async () => {
    const response = await fetch(`${url}/v2/health/live`, { method: "HEAD" });
    expect([response.status, await response.text()]).toEqual([200, ""]);
  });

  test("list themselves", async () => {
    expect((await ask("GET", "/")).json.routes).toContain("POST /v2/models/{model}/infer");
  });

  test("echo a request id, and make one when it is missing or unfit", async () => {
    const idOf = async (given?: string) =>
      (await ask("POST", "/predict", { image: flat }, given ? { "X-Request-Id": given } : {})).headers.get(
        "x-request-id",
      );
    expect(await idOf("abc-1")).toBe("abc-1");
    expect(await idOf()).toMatch(/^[\w-]{36}$/);
    expect(await idOf("x".repeat(500))).toMatch(/^[\w-]{36}$/);
    expect(
      (await ask("GET", "/nosuch", undefined, { "X-Request-Id": "abc-2" })).headers.get("x-request-id"),
    ).toBe("abc-2");
  });

  test("refuse a path that cannot be decoded", async () => {
    expect(await ask("GET", "/v2/models/%E0%A4%A")).toMatchObject({
      status: 400,
      json: { type: "INVALID_INPUT" },
    });
  });
});

describe("the management API", () => {
  test("shows models and versions and moves aliases", async () => {
    expect((await ask("GET", "/api/models")).json).toMatchObject([{ model: "mnist", versions: [1] }]);
    expect((await ask("GET", "/api/models/mnist")).json).toMatchObject({ latestVersion: 1 });
    expect((await ask("GET", "/api/models/mnist/versions/1")).json).toMatchObject({
      version: 1,
      labels: LABELS,
    });
    const moved = await ask("PUT", "/api/models/mnist/aliases/canary", { version: 1 });
    expect(moved).toMatchObject({ status: 200, json: { aliases: { canary: 1 } } });
    expect((await ask("POST", "/v2/models/mnist/versions/canary/infer", infer())).json.model_version).toBe(
      "1",
    );
  });

  test.each([
    ["GET", "/api/models/nosuch", undefined, 404],
    ["GET", "/api/models/mnist/versions/7", undefined, 404],
    ["PUT", "/api/models/mnist/aliases/canary", { version: "one" }, 400],
    ["PUT", "/api/models/mnist/aliases/canary", {}, 400],
    ["PUT", "/api/models/mnist/aliases/canary", { version: 9 }, 404],
    ["GET", "/api/jobs/nosuch", undefined, 404],
    ["GET", "/api/jobs/nosuch/events", undefined, 404],
    ["GET", "/api/jobs?state=asleep", undefined, 400],
    ["GET", "/api/jobs?limit=0", undefined, 400],
  ])("%s %s with %j is answered %i", async (method, path, body, status) => {
    const answer = await ask(method, path, body);
    expect(answer.status).toBe(status);
    expect(answer.json).toMatchObject({ error: expect.any(String), type: expect.any(String) });
  });

  test("starts, lists, shows and cancels jobs", async () => {
    const started = await ask("POST", "/api/jobs", { model: "m" });
    expect(started).toMatchObject({ status: 202, json: { id: "job 1", state: "running" } });
    expect(started.headers.get("location")).toBe("/api/jobs/job%201");
    expect((await ask("GET", "/api/jobs/job%201")).json).toMatchObject({ id: "job 1" });
    expect((await ask("GET", "/api/jobs?state=running&limit=5")).json).toHaveLength(1);
    expect((await ask("GET", "/api/jobs?state=failed")).json).toEqual([]);
    expect((await ask("POST", "/api/jobs/job%201/cancel")).json).toMatchObject({ cancelRequested: true });
    expect((await ask("DELETE", "/api/jobs/job%201")).status).toBe(202);
  });
});

describe("job events", () => {
  test("begin with the record, follow the job, and end with it", async () => {
    trainer.add("followed");
    const response = await fetch(`${url}/api/jobs/followed/events`);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    for (let step = 1; step <= 3; step++) trainer.progress("followed", step);
    trainer.progress("another", 1);
    trainer.end("followed");
    const events = parseEvents(await response.text());
    expect(events.map(({ event }) => event)).toEqual([
      "job",
      "progressed",
      "progressed",
      "progressed",
      "ended",
    ]);
    expect(events.map(({ id }) => id)).toEqual(["1", "2", "3", "4", "5"]);
    expect(events[2]!.data).toMatchObject({ id: "followed", progress: { step: 2 } });
    expect(events[4]!.data).toMatchObject({ job: { state: "succeeded" } });
  });

  test("of a job that has ended already are its record and its end", async () => {
    trainer.add("past");
    trainer.end("past");
    const events = parseEvents(await (await fetch(`${url}/api/jobs/past/events`)).text());
    expect(events.map(({ event }) => event)).toEqual(["job", "ended"]);
  });

  test("stop for a subscriber that hangs up", async () => {
    trainer.add("left");
    const abort = new AbortController();
    await fetch(`${url}/api/jobs/left/events`, { signal: abort.signal });
    abort.abort();
    await delay(100);
    trainer.progress("left", 1);
    trainer.end("left");
  });
});

describe("/metrics", () => {
  test("is Prometheus text with Moleculer's names and ours", async () => {
    await ask("POST", "/predict", { image: flat });
    const text = await (await fetch(`${url}/metrics`)).text();
    for (const name of [
      "moleculer_request_total",
      "moleculer_request_time_bucket",
      "moleculer_request_time_sum",
    ])
      expect(text).toContain(`\n${name}{`);
    expect(text).toMatch(/^# TYPE moiety_inference_request_time histogram$/m);
    const line = /^[a-zA-Z_][\w]*(\{([\w]+="(\\.|[^"\\])*",?)*\})? (NaN|[+-]Inf|-?[\d.e+-]+)$/;
    const bad = text.split("\n").filter((row) => row !== "" && !row.startsWith("# ") && !line.test(row));
    expect(bad).toEqual([]);
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe("errors from behind the gateway", () => {
  const failing = (predict: (ctx: unknown) => unknown): ServiceSchema => ({
    name: "inference",
    actions: { predict, ready: () => ({ ready: false, reason: "nothing is loaded" }) },
  });
  const predictWith = async (schema: ServiceSchema | undefined, variables: Record<string, string> = {}) =>
    withGateway(schema ? [schema] : [], variables, async (base) => {
      const body = JSON.stringify(infer());
      const response = await fetch(`${base}/v2/models/m/infer`, { method: "POST", body });
      return { status: response.status, headers: response.headers, json: (await response.json()) as Json };
    });

  test("no inference service is 503 with Retry-After", async () => {
    const answer = await predictWith(undefined);
    expect(answer).toMatchObject({ status: 503, json: { type: "UNAVAILABLE" } });
    expect(answer.headers.get("retry-after")).toBe("1");
  });

  test("a full queue is 503 with Retry-After", async () => {
    const answer = await predictWith(
      failing(() => {
        throw new QueueFullError("m", 10, 3);
      }),
    );
    expect(answer).toMatchObject({ status: 503, json: { type: "QUEUE_FULL", data: { maxSize: 10 } } });
    expect(answer.headers.get("retry-after")).toBe("3");
  });

  test("a missed deadline is 504", async () => {
    const held = Promise.withResolvers<void>();
    const answer = await withGateway(
      [failing(() => held.promise)],
      { MOIETY_INFERENCE_TIMEOUT_MS: "50" },
      async (base) => {
        const response = await fetch(`${base}/v2/models/m/infer`, {
          method: "POST",
          body: JSON.stringify(infer()),
        });
        // Nothing else could have ended it; the node does not stop before it has.
        held.resolve();
        return { status: response.status, json: (await response.json()) as Json };
      },
    );
    expect(answer).toMatchObject({ status: 504, json: { type: "DEADLINE_EXCEEDED" } });
  });

  test("an unforeseen error is 500 and keeps its secrets", async () => {
    const answer = await predictWith(
      failing(() => {
        throw new TypeError("cannot read /etc/secret");
      }),
    );
    expect(answer).toMatchObject({ status: 500, json: { type: "INTERNAL" } });
    expect(JSON.stringify(answer.json)).not.toContain("secret");
    expect(JSON.stringify(answer.json)).not.toContain(".ts");
  });

  test("a failed execution is 500 and says what failed", async () => {
    const answer = await predictWith(
      failing(() => {
        throw new ExecutionError("Model 'm'", "out of range");
      }),
    );
    expect(answer.json).toMatchObject({ type: "EXECUTION_FAILED", error: "Model 'm' failed: out of range" });
  });

  test("parameters that an action refuses are 400, field by field", async () => {
    const schema: ServiceSchema = {
      name: "trainer",
      actions: { start: { params: { model: "string", epochs: "number" }, handler: () => ({}) } },
    };
    const answer = await withGateway([schema], {}, async (base) => {
      const response = await fetch(`${base}/api/jobs`, { method: "POST", body: '{"model":7}' });
      return { status: response.status, json: (await response.json()) as Json };
    });
    expect(answer).toMatchObject({
      status: 400,
      json: { type: "INVALID_INPUT", data: { fields: ["model", "epochs"] } },
    });
    expect(answer.json.error).toContain("received 7");
  });

  test("readiness is 503 with the reason", async () => {
    const answer = await withGateway([failing(() => {})], {}, async (base) => {
      const response = await fetch(`${base}/v2/health/ready`);
      return { status: response.status, json: (await response.json()) as Json };
    });
    expect(answer).toEqual({ status: 503, json: { ready: false, reason: "nothing is loaded" } });
  });
});

describe("starting and stopping", () => {
  test("a port in use fails the start with its name, and the process goes on", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as AddressInfo;
    await expect(assertPortFree("127.0.0.1", port, "MOIETY_HTTP_PORT")).rejects.toMatchObject({
      type: "PORT_IN_USE",
    });
    await expect(
      startNode(configWith({ MOIETY_HTTP_PORT: String(port) }), ["gateway"]),
    ).rejects.toMatchObject({
      type: "PORT_IN_USE",
      message: expect.stringContaining("MOIETY_HTTP_PORT"),
    });
    await new Promise((resolve) => taken.close(resolve));
    await assertPortFree("127.0.0.1", port, "MOIETY_HTTP_PORT");
  });

  test("a metrics port in use fails the start as well, and a free one serves the page", async () => {
    const probe = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => probe.once("listening", resolve));
    const { port } = probe.address() as AddressInfo;
    const config = configWith({ MOIETY_METRICS_PORT: String(port) });
    await expect(startNode(config, [])).rejects.toMatchObject({ type: "PORT_IN_USE" });
    await new Promise((resolve) => probe.close(resolve));
    const node = await startNode(config, []);
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(await response.text()).toContain("moleculer_broker_started");
    await node.stop();
  });

  test("stop answers what is in flight, ends event streams, and closes idle connections", async () => {
    const scripted = new ScriptedTrainer();
    const node = new ServiceBroker(brokerOptions(configWith()));
    scripted.attach(node);
    // What is idle is not waited for: that would take an hour.
    node.createService({
      ...gatewayService,
      settings: { ...gatewayService.settings, stopTimeoutMs: 3_600_000 },
    });
    const [asked, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    node.createService({
      name: "inference",
      actions: {
        predict: async () => {
          asked.resolve();
          await held.promise;
          return { model: "m", version: "1", outputs: [], cached: false };
        },
        ready: () => ({ ready: true, reason: "" }),
      },
    });
    await node.start();
    const base = gatewayUrl(node);
    scripted.add("open");
    expect((await fetch(`${base}/v2/health/ready`)).status).toBe(200);
    const stream = await fetch(`${base}/api/jobs/open/events`);
    const inFlight = fetch(`${base}/v2/models/m/infer`, { method: "POST", body: JSON.stringify(infer()) });
    await asked.promise;
    const stopped = node.stop();
    expect((await fetch(`${base}/v2/health/ready`)).status).toBe(503);
    held.resolve();
    expect((await inFlight).status).toBe(200);
    expect(parseEvents(await stream.text()).map(({ event }) => event)).toEqual(["job"]);
    await settled(stopped);
    await expect(fetch(`${base}/v2/health/live`)).rejects.toThrow();
  });
});

/** A node of its own with a gateway, and the given service behind it. */
async function withGateway<T>(
  schemas: ServiceSchema[],
  variables: Record<string, string>,
  use: (base: string) => Promise<T>,
): Promise<T> {
  const node = await startNode(configWith(variables), ["gateway"], schemas);
  try {
    return await use(gatewayUrl(node));
  } finally {
    await node.stop();
  }
}

/** A gateway whose only model has another name than the default one. */
function startOther<T>(model: string, use: (base: string) => Promise<T>): Promise<T> {
  const call = callOf(broker);
  const schema: ServiceSchema = {
    name: "inference",
    actions: {
      metadata: async (ctx: { params: { model: string } }) => {
        if (ctx.params.model === model)
          return { ...(await call("inference.metadata", { model: "mnist" })), model };
        return call("inference.metadata", {
          model: ctx.params.model === "mnist" ? "nosuch" : ctx.params.model,
        });
      },
      predict: async (ctx: { params: object }) => ({
        ...(await call("inference.predict", { ...ctx.params, model: "mnist" } as never)),
        model,
      }),
    },
  };
  const registry: ServiceSchema = { name: "registry", actions: { list: () => [{ model }] } };
  return withGateway([schema, registry], {}, use);
}

async function metricValue(name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

type ServerSentEvent = { id: string | undefined; event: string | undefined; data: Json };

function parseEvents(text: string): ServerSentEvent[] {
  return text
    .split("\n\n")
    .filter((block) => block !== "" && !block.startsWith(":"))
    .map((block) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
      return { id: field("id"), event: field("event"), data: JSON.parse(field("data") ?? "{}") as Json };
    });
}
