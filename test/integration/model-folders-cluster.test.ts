/** Model folders in a cluster: two registries look at the same folders, another node serves what is in them. */

import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { inferBinary } from "../fixtures/oip-binary.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

const KINDS = fileURLToPath(new URL("../fixtures/onnx-kinds", import.meta.url));

let directory: string;
let nats: RunningServer;
const nodes: ServiceBroker[] = [];
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-folders-cluster-"));
  await mkdir(join(directory, "affine/1"), { recursive: true });
  await writeFile(join(directory, "affine/1/model.onnx"), affineModel());
  for (const kind of ["external-data", "zipmap"])
    await cp(join(KINDS, kind), join(directory, kind), { recursive: true });
  nats = await startNats();
  const start = (nodeID: string, services: Parameters<typeof startNode>[1]) =>
    startNode(
      readConfig({
        MOIETY_MODE: "cluster",
        MOIETY_NATS_URL: nats.url,
        MOIETY_NAMESPACE: "folders-test",
        MOIETY_NODE_ID: nodeID,
        MOIETY_MODEL_REPOSITORY: directory,
        MOIETY_MODEL_REPOSITORY_POLL_SECONDS: "1",
        MOIETY_INFERENCE_WORKERS: "1",
        MOIETY_HTTP_PORT: "0",
        MOIETY_GRPC_PORT: "0",
        MOIETY_LOG_LEVEL: "fatal",
      }),
      services,
    );
  nodes.push(await start("registry-1", ["registry"]), await start("registry-2", ["registry"]));
  nodes.push(await start("serving", ["inference", "gateway"]));
  url = gatewayUrl(nodes[2]!);
  await eventually(async () => (await fetch(`${url}/v2/health/ready`)).status === 200 || undefined);
});

afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await nats?.stop();
  await rm(directory, { recursive: true, force: true });
});

test("each version is published once and served by a node that sees no folder", async () => {
  const x = { name: "x", datatype: "FP32" as const, shape: [1, 3], data: Float32Array.of(1, 2, 3) };
  const answer = await eventually(() => inferBinary(url, "affine", [x]).catch(() => undefined));
  expect(answer).toMatchObject([{ data: Float32Array.of(3, 5, 7) }]);
  const records = await callOf(nodes[2]!)("registry.list", {});
  expect(
    records.map(({ versions }) => versions).every(([first, ...more]) => first === 1 && more.length === 0),
  ).toBe(true);
  expect(records.map(({ model }) => model)).toEqual(["affine", "external-data"]);
});

test("the index names what no registry could take in", async () => {
  // What is published is loaded a moment later.
  const entries = await eventually(async () => {
    const index = await fetch(`${url}/v2/repository/index`, { method: "POST" });
    const all = (await index.json()) as { name: string; state: string; reason: string }[];
    return all.find(({ name }) => name === "external-data")?.state === "READY" ? all : undefined;
  });
  expect(entries.filter(({ name }) => name === "zipmap")).toMatchObject([
    { state: "UNAVAILABLE", reason: expect.stringContaining("'zipmap': False") },
  ]);
  expect(entries.find(({ name }) => name === "external-data")).toMatchObject({ state: "READY", reason: "" });
});

test("a registry that starts again finds everything as it left it", async () => {
  const before = await callOf(nodes[2]!)("registry.version", { model: "external-data" });
  await nodes[0]!.stop();
  nodes[0] = await startNode(nodes[0]!.options.moiety!, ["registry"]);
  const call = callOf(nodes[2]!);
  await eventually(async () => {
    const report = await call("registry.folders", {}, { nodeID: "registry-1" });
    return (report.settled && report.states.some(({ model }) => model === "zipmap")) || undefined;
  });
  expect(await call("registry.version", { model: "external-data" })).toEqual(before);
  expect((await fetch(`${url}/v2/health/ready`)).status).toBe(200);
});
