/** The access log of a gateway: what it says of HTTP requests and gRPC calls, and how requests get their ids. */

import { readFileSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, grpcAddress, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { AccessEntry } from "../../lib/http/access-log.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { OipClient } from "../fixtures/grpc-client.ts";
import { affineModel } from "../fixtures/onnx-models.ts";
import { openSocket } from "../fixtures/raw-http.ts";

const INFER = "/v2/models/m/infer";
const body = (data: number[]) =>
  JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data }] });

let directory: string;
let file: string;
let broker: ServiceBroker;
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-access-log-"));
  file = join(directory, "access.log");
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
    MOIETY_ACCESS_LOG: file,
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  const store = await openStore(config.store);
  const onnx = await store.artifacts.put(affineModel());
  await store.close();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  const call = callOf(broker);
  const signature = { inputs: spec, outputs: spec };
  await call("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
  await eventually(async () => (await call("inference.ready", { model: "m" })).ready || undefined);
});
afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

const entries = (path = file) =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as AccessEntry);
const logged = (id: string, path = file) =>
  eventually(async () => entries(path).find((entry) => entry.id === id));

test("a prediction over HTTP is one line with the version that answered and the bytes that went", async () => {
  const sent = body([1, 2, 3]);
  for (const [id, cached] of [
    ["first/1", false],
    ["second/1", true],
  ] as const) {
    const response = await fetch(`${url}${INFER}?a=secret`, {
      method: "POST",
      body: sent,
      headers: { "X-Request-Id": id },
    });
    expect(response.headers.get("x-request-id")).toBe(id);
    const received = await response.text();
    const entry = await logged(id);
    expect(entry).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      id,
      protocol: "http",
      method: "POST",
      path: INFER,
      status: 200,
      bytesIn: expect.any(Number),
      bytesOut: expect.any(Number),
      durationMs: expect.any(Number),
      remote: "127.0.0.1",
      model: "m",
      version: "1",
      cached,
    });
    expect(entry.bytesIn).toBeGreaterThan(sent.length);
    expect(entry.bytesIn).toBeLessThan(sent.length + 1000);
    expect(entry.bytesOut).toBeGreaterThan(received.length);
    expect(entry.bytesOut).toBeLessThan(received.length + 1000);
  }
});

test("an id that is not plain is replaced, and every request has one", async () => {
  const given = `no"${"x".repeat(200)}`;
  const response = await fetch(`${url}/v2/health/live`, { headers: { "X-Request-Id": given } });
  const id = response.headers.get("x-request-id")!;
  expect(id).toMatch(/^[\da-f-]{36}$/);
  expect(await logged(id)).toMatchObject({ method: "GET", path: "/v2/health/live", status: 200 });
});

test("errors are logged with their status, requests that are refused before their body too", async () => {
  const missing = await fetch(`${url}/nosuch`);
  expect(await logged(missing.headers.get("x-request-id")!)).toMatchObject({ status: 404, path: "/nosuch" });
  const socket = openSocket(url);
  socket.write(
    `POST ${INFER} HTTP/1.1\r\nHost: x\r\nX-Request-Id: refused-1\r\nContent-Length: ${2 ** 30}\r\nExpect: 100-continue\r\n\r\n`,
  );
  // It lingers until the client leaves.
  socket.once("data", () => socket.destroy());
  expect(await logged("refused-1")).toMatchObject({ status: 413, path: INFER });
});

test("a client that leaves before it is answered is logged as 499", async () => {
  const socket = openSocket(url);
  const head = `POST ${INFER} HTTP/1.1\r\nHost: x\r\nX-Request-Id: left-1\r\nContent-Length: 1000`;
  socket.write(`${head}\r\n\r\n{`, () => socket.destroy());
  expect(await logged("left-1")).toMatchObject({ status: 499 });
});

test("gRPC calls are logged with the same fields, by the names of gRPC", async () => {
  const client = new OipClient(grpcAddress(broker)!);
  try {
    const before = entries().length;
    const tensor = { name: "x", datatype: "FP32", shape: [1, 3] };
    const raw_input_contents = [Buffer.from(new Float32Array([4, 5, 6]).buffer)];
    await client.infer({ model_name: "m", inputs: [tensor], raw_input_contents });
    await client.infer({ model_name: "nosuch", inputs: [tensor], raw_input_contents }).catch(() => {});
    const calls = await eventually(async () => {
      const found = entries()
        .slice(before)
        .filter(({ protocol }) => protocol === "grpc");
      return found.length >= 2 ? found : undefined;
    });
    const path = "/inference.GRPCInferenceService/ModelInfer";
    const sent = {
      protocol: "grpc",
      path,
      id: expect.any(String),
      remote: expect.stringContaining("127.0.0.1"),
    };
    expect(calls[0]).toMatchObject({ ...sent, status: "OK", model: "m", version: "1", cached: false });
    expect(calls[0]!.bytesIn).toBeGreaterThan(12);
    expect(calls[0]!.bytesOut).toBeGreaterThan(12);
    expect(calls[1]).toMatchObject({ ...sent, status: "NOT_FOUND", bytesOut: 0 });
    expect(calls[1]).not.toHaveProperty("model");
  } finally {
    client.close();
  }
});

test("after the file has been moved and SIGHUP has come, lines go to a new one", async () => {
  await rename(file, `${file}.1`);
  process.emit("SIGHUP");
  await fetch(`${url}/v2/health/live`, { headers: { "X-Request-Id": "moved-1" } });
  expect(await logged("moved-1")).toMatchObject({ status: 200 });
  expect(entries(`${file}.1`).some(({ id }) => id === "first/1")).toBe(true);
});
