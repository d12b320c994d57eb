/**
 * Clients that hang up while their request waits: it leaves the queue, is never run, and its place is free, whatever
 * route it came by, and whether the model is served by the gateway's process or by another node. Runs of the model are
 * held back, so that what waits is known whatever the speed of the machine.
 */

import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { InferencePool } from "../../lib/runtime/worker-pool.ts";
import { openStore } from "../../lib/store/open-store.ts";
import type { Tensor, TensorSpec } from "../../lib/tensor/tensor.ts";
import { callOf } from "../../mixins/config.ts";
import { metricsTextOf } from "../../mixins/prometheus-reporter.ts";
import { eventually, until } from "../fixtures/eventually.ts";
import { convolutionalModel } from "../fixtures/onnx-models.ts";
import { openSocket, readAnswer } from "../fixtures/raw-http.ts";

const INPUT: TensorSpec = { name: "image", datatype: "FP32", shape: [-1, 28, 28, 1] };
const OUTPUT: TensorSpec = { name: "probabilities", datatype: "FP32", shape: [-1, 10] };

/** Bodies whose image is told by the value of its pixels. */
const ROUTES: [path: string, body: (value: number) => object][] = [
  ["/v2/models/mnist/infer", (value) => ({ parameters: { cache: false }, inputs: [oipInput(value)] })],
  ["/v2/models/mnist/versions/1/infer", (value) => ({ inputs: [oipInput(value)] })],
  ["/v1/models/mnist:predict", (value) => ({ inputs: [square(value)] })],
  ["/v2/models/mnist/generate", (value) => ({ image: pixels(value), cache: false })],
  ["/predict", (value) => ({ image: pixels(value), cache: false })],
];

const pixels = (value: number): number[] => new Array(784).fill(value);
const square = (value: number) => new Array(28).fill(new Array(28).fill([value]));
const oipInput = (value: number) => ({
  name: "image",
  shape: [1, 28, 28, 1],
  datatype: "FP32",
  data: pixels(value),
});

/** Runs that have begun, by the value of their pixels, each with what lets it go on. */
let begun: { value: number; goOn: () => void }[] = [];
let values = 1;

/** Holds every run of a model until the test lets it go on; one runs at a time. */
function holdRuns(): void {
  const { run } = InferencePool.prototype;
  let running = 0;
  const rooms = new Set<() => void>();
  jest.spyOn(InferencePool.prototype, "capacity").mockImplementation(() => (running > 0 ? "none" : "idle"));
  jest.spyOn(InferencePool.prototype, "onRoom").mockImplementation((listener) => void rooms.add(listener));
  jest.spyOn(InferencePool.prototype, "run").mockImplementation(async function (
    this: InferencePool,
    name,
    feeds,
    ...rest
  ): Promise<Tensor[]> {
    running++;
    const made = feeds();
    await new Promise<void>((goOn) => begun.push({ value: made[0]!.data[0] as number, goOn }));
    try {
      return await run.call(this, name, () => made, ...rest);
    } finally {
      running--;
      for (const listener of [...rooms].filter((room) => rooms.delete(room))) listener();
    }
  });
}

function send(url: string, path: string, body: object): Socket {
  const text = JSON.stringify(body);
  const socket = openSocket(url);
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  return socket;
}

async function publish(broker: ServiceBroker, config: ReturnType<typeof readConfig>): Promise<void> {
  const store = await openStore(config.store);
  const onnx = await store.artifacts.put(convolutionalModel());
  await store.close();
  const call = callOf(broker);
  const signature = { inputs: [INPUT], outputs: [OUTPUT] };
  await call("registry.publish", { model: "mnist", artifacts: { onnx }, signature, labels: [] });
  await eventually(async () => (await call("inference.ready", { model: "mnist" })).ready || undefined);
}

describe.each(["in the gateway's process", "on another node"])("a model served %s", (place) => {
  const clustered = place === "on another node";
  let directory: string;
  let nats: RunningServer | undefined;
  let serving: ServiceBroker;
  let gateway: ServiceBroker;
  let url: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "moiety-hang-up-"));
    nats = clustered ? await startNats() : undefined;
    const configOf = (nodeID: string) =>
      readConfig({
        ...(nats
          ? { MOIETY_MODE: "cluster", MOIETY_NATS_URL: nats.url, MOIETY_NAMESPACE: `t-${namespace}` }
          : { MOIETY_DATA_DIR: directory }),
        MOIETY_NODE_ID: nodeID,
        MOIETY_HTTP_PORT: "0",
        MOIETY_GRPC_PORT: "0",
        MOIETY_INFERENCE_WORKERS: "1",
        MOIETY_INFERENCE_MAX_BATCH: "1",
        MOIETY_INFERENCE_MAX_QUEUE: "2",
        MOIETY_INFERENCE_TIMEOUT_MS: "600000",
        MOIETY_LOG_LEVEL: "fatal",
      });
    const namespace = randomUUID().slice(0, 8);
    const config = configOf("serving");
    serving = await startNode(config, ["registry", "inference", ...(clustered ? [] : ["gateway" as const])]);
    gateway = clustered ? await startNode(configOf("gateway"), ["gateway"]) : serving;
    await gateway.waitForServices("inference", 120_000);
    await publish(gateway, config);
    url = gatewayUrl(gateway);
    holdRuns();
  });

  afterAll(async () => {
    jest.restoreAllMocks();
    if (gateway !== serving) await gateway?.stop();
    await serving?.stop();
    await nats?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const waiting = () => metric("moiety_inference_queue_size");
  const cancelled = () => metric("moiety_inference_request_total", 'outcome="CANCELLED"');
  const metric = (name: string, label = "") => {
    const lines = metricsTextOf(serving).split("\n");
    const line = lines.find((text) => text.startsWith(`${name}{`) && text.includes(label));
    return Number(line?.split(" ").at(-1) ?? 0);
  };

  test.each(ROUTES)("is not run for who hung up at %s, nor is a place kept", async (path, bodyOf) => {
    begun = [];
    const [first, left, stayed, refused, next] = Array.from({ length: 5 }, () => values++);
    const firstAnswer = readAnswer(send(url, path, bodyOf(first!)));
    await until(() => begun.length === 1);
    const leaving = send(url, path, bodyOf(left!));
    await until(() => waiting() === 1);
    const stayedAnswer = readAnswer(send(url, path, bodyOf(stayed!)));
    await until(() => waiting() === 2);
    expect(await readAnswer(send(url, path, bodyOf(refused!)))).toMatchObject({ status: 503 });

    const cancelledBefore = cancelled();
    leaving.destroy();
    await until(() => cancelled() === cancelledBefore + 1);
    const nextAnswer = readAnswer(send(url, path, bodyOf(next!)));

    for (let i = 0; i < 3; i++) {
      await until(() => begun.length === i + 1);
      begun[i]!.goOn();
    }
    for (const answer of [firstAnswer, stayedAnswer, nextAnswer]) expect((await answer).status).toBe(200);
    expect(begun.map(({ value }) => value)).toEqual([first, stayed, next]);
  });
});
