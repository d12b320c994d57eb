/**
 * Which node answers, with inference nodes as processes behind a real NATS: keys stay where they are, a node that hangs
 * is left alone and comes back, one that is killed loses nothing. The gateway runs in the test's process, so that it can
 * be asked what it knows of the nodes.
 */

import { randomUUID } from "node:crypto";
import { type CallOptions, InterceptingCall } from "@grpc/grpc-js";
import type { ServiceBroker } from "moleculer";
import { type ChildNode, startChildNode } from "../../cli/child-node.ts";
import { gatewayUrl, grpcAddress, startNode, stopNode } from "../../cli/node.ts";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { balancerOf } from "../../mixins/balance.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, settled, until } from "../fixtures/eventually.ts";
import { OipClient } from "../fixtures/grpc-client.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

/** Of a prediction: no answer may need it. */
const DEADLINE_MS = 200_000;
const CLIENTS = 16;
const NODES = ["one", "two", "three"];
const KEYS = Array.from({ length: 30 }, (_, i) => `session-${i}`);

let nats: RunningServer;
let environment: Record<string, string>;
let front: ServiceBroker;
let call: Call;
const nodes = new Map<string, ChildNode>();
let grpc: OipClient;

beforeAll(async () => {
  nats = await startNats();
  environment = {
    MOIETY_MODE: "cluster",
    MOIETY_NAMESPACE: `t-${randomUUID().slice(0, 8)}`,
    MOIETY_NATS_URL: nats.url,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: String(DEADLINE_MS),
    MOIETY_LOG_LEVEL: "fatal",
  };
  front = await startNode(readConfig({ ...environment, MOIETY_NODE_ID: "front" }), ["registry", "gateway"]);
  call = callOf(front);
  grpc = new OipClient(grpcAddress(front)!);
  const store = await openStore(readConfig(environment).store);
  const onnx = await store.artifacts.put(affineModel({ scale: 10 }));
  await store.close();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  const signature = { inputs: spec, outputs: [{ ...spec[0]!, name: "y" }] };
  await call("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
  await Promise.all(NODES.map(start));
});

afterAll(async () => {
  grpc?.close();
  if (front) await stopNode(front);
  await Promise.all([...nodes.values()].map((node) => node.stop()));
  await nats?.stop();
});

/** Until it serves the model and has answered a probe. */
async function start(nodeID: string): Promise<void> {
  nodes.set(nodeID, await startChildNode(["inference"], { ...environment, MOIETY_NODE_ID: nodeID }));
  await eventually(
    async () => (await call("inference.ready", { model: "m" }, { nodeID })).ready || undefined,
  );
}

/** Predictions, and questions about the model, that a node has answered well. */
const answeredBy = (nodeID: string): number =>
  balancerOf(front)
    .view()
    .find((peer) => peer.nodeID === nodeID)
    ?.outcomes.get("ok") ?? 0;

const avoided = (nodeID: string) =>
  balancerOf(front)
    .view()
    .find((peer) => peer.nodeID === nodeID)?.avoided;

async function predict(value: number, affinity?: string): Promise<void> {
  const { outputs } = await call(
    "inference.predict",
    {
      model: "m",
      cache: false,
      inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array([value, 0, 0]) }],
      ...(affinity === undefined ? {} : { affinity }),
    },
    { timeout: DEADLINE_MS },
  );
  expect(outputs[0]!.data[0]).toBe(Math.fround(value * 10 + 1));
}

/** The node that answers what is asked; nothing else may be asked meanwhile. */
async function whoAnswers(ask: () => Promise<void>): Promise<string> {
  const before = NODES.map(answeredBy);
  await ask();
  const answering = NODES.filter((nodeID, i) => answeredBy(nodeID) > before[i]!);
  expect(answering).toHaveLength(1);
  return answering[0]!;
}

async function post(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${gatewayUrl(front)}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
}

const oip = (parameters: object = {}) => ({
  parameters: { cache: false, ...parameters },
  inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: [1, 2, 3] }],
});

const message = (parameters: object = {}) => ({
  model_name: "m",
  parameters: { cache: { bool_param: false }, ...parameters },
  inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], contents: { fp32_contents: [1, 2, 3] } }],
});

/** A call with the key in its metadata. */
function keyed(key: string): CallOptions {
  return {
    interceptors: [
      (options, next) =>
        new InterceptingCall(next(options), {
          start(metadata, listener, go) {
            metadata.set("x-affinity-key", key);
            go(metadata, listener);
          },
        }),
    ],
  };
}

/** Ways to ask with a key. */
const WAYS: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
  "the header over the Open Inference Protocol": (key) =>
    post("/v2/models/m/infer", oip(), { "X-Affinity-Key": key }),
  "the header before a sequence": (key) =>
    post("/v2/models/m/versions/1/infer", oip({ sequence_id: 7 }), { "X-Affinity-Key": key }),
  "a sequence": (key) => post("/v2/models/m/infer", oip({ sequence_id: key, sequence_start: true })),
  "the header over TensorFlow Serving": (key) =>
    post(
      "/v1/models/m:predict",
      { instances: [[1, 2, 3]] },
      { "X-Affinity-Key": key, "Moiety-Cache": "off" },
    ),
  "the header of /predict": (key) =>
    post("/predict", { model: "m", image: [1, 2, 3], cache: false }, { "X-Affinity-Key": key }),
  "gRPC metadata": (key) => grpc.infer(message(), keyed(key)),
  "a sequence over gRPC": (key) => grpc.infer(message({ sequence_id: { string_param: key } })),
  "a stream's metadata": async (key) => {
    const stream = grpc.stream(keyed(key));
    stream.end(message());
    for await (const { error_message } of stream) expect(error_message).toBe("");
  },
};

/** Steady load until stopped; resolves to how many were answered. A failure fails the test. */
function load() {
  let [stopped, answered] = [false, 0];
  const failures: string[] = [];
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let i = 0; !stopped; i++)
      await predict(client * 10_000 + (i % 5000)).then(
        () => answered++,
        (error: unknown) => failures.push(`${errorType(error)}: ${error}`),
      );
  });
  return {
    answered: () => answered,
    failures,
    async stop(): Promise<void> {
      stopped = true;
      await settled(Promise.all(clients));
    },
  };
}

describe("a key", () => {
  const homes = new Map<string, string>();

  test("finds the same node by every protocol", async () => {
    // What is remembered of the model is asked for before anything is counted.
    for (const ask of Object.values(WAYS)) await ask("first");
    for (const key of KEYS) homes.set(key, await whoAnswers(() => predict(1, key)));
    expect(new Set(homes.values())).toEqual(new Set(NODES));
    for (const [way, ask] of Object.entries(WAYS))
      for (const key of KEYS.slice(0, 8)) {
        const home = await whoAnswers(async () => {
          const answer = await ask(key);
          if (answer instanceof Response) expect([way, answer.status]).toEqual([way, 200]);
        });
        expect([way, key, home]).toEqual([way, key, homes.get(key)]);
      }
  });

  test("is the same as a number over HTTP and over gRPC", async () => {
    const number = Number.MAX_SAFE_INTEGER;
    const home = await whoAnswers(() => predict(1, String(number)));
    const ways = [
      () => post("/v2/models/m/infer", oip({ sequence_id: number, sequence_end: true })),
      () => grpc.infer(message({ sequence_id: { int64_param: number } })),
      () =>
        grpc.infer(message({ sequence_id: { uint64_param: number }, sequence_start: { bool_param: true } })),
    ];
    for (const ask of ways) expect(await whoAnswers(async () => void (await ask()))).toBe(home);
  });

  test("that is none is refused by name", async () => {
    const refused = await post("/v2/models/m/infer", oip(), { "X-Affinity-Key": "x".repeat(257) });
    expect([refused.status, await refused.json()]).toMatchObject([
      400,
      { error: expect.stringContaining("Invalid header X-Affinity-Key: received 257 characters") },
    ]);
    await expect(grpc.infer(message(), keyed("y".repeat(300)))).rejects.toMatchObject({
      details: expect.stringContaining("Invalid metadata x-affinity-key: received 300 characters"),
    });
    await expect(predict(1, "\n")).rejects.toMatchObject({ type: "INVALID_INPUT" });
  });

  test("moves when its node dies, without another moving, and comes back with it", async () => {
    nodes.get("two")!.kill("SIGKILL");
    await until(() => front.registry.nodes.get("two")?.available !== true);
    for (const [key, home] of homes) {
      const now = await whoAnswers(() => predict(1, key));
      if (home === "two") expect(now).not.toBe("two");
      else expect([key, now]).toEqual([key, home]);
    }
    await start("two");
    for (const [key, home] of homes)
      expect([key, await whoAnswers(() => predict(1, key))]).toEqual([key, home]);
  });
});

describe("a node", () => {
  test("that hangs gets no calls until it goes on, and then gets its share again", async () => {
    const under = load();
    const spread = () => NODES.map(answeredBy);
    const before = spread();
    await until(() => spread().every((count, i) => count > before[i]! + 100));

    process.kill(nodes.get("one")!.pid, "SIGSTOP");
    try {
      await until(() => avoided("one") === "silent");
      const [atOne, all] = [answeredBy("one"), under.answered()];
      // The clients that do not wait for it are answered.
      await until(() => under.answered() > all + 500);
      // Fewer, if the machine stood still so long that the node was given up and what is known of it forgotten.
      expect(answeredBy("one")).toBeLessThanOrEqual(atOne);
      expect(under.failures).toEqual([]);
    } finally {
      process.kill(nodes.get("one")!.pid, "SIGCONT");
    }

    await until(() => avoided("one") === undefined);
    const back = answeredBy("one");
    await until(() => answeredBy("one") > back + 100);
    await under.stop();
    expect(under.failures).toEqual([]);
  });

  test("that is killed under load loses nothing", async () => {
    const under = load();
    const before = answeredBy("three");
    await until(() => answeredBy("three") > before + 100);
    nodes.get("three")!.kill("SIGKILL");
    await until(() => front.registry.nodes.get("three")?.available !== true);
    const all = under.answered();
    await until(() => under.answered() > all + 500);
    await under.stop();
    expect(under.failures).toEqual([]);
  });

  test("is told of in the metrics", async () => {
    await Promise.all(KEYS.map((key) => predict(1, key)));
    const page = await (await fetch(`${gatewayUrl(front)}/metrics`)).text();
    expect(page).toMatch(/^moiety_balance_calls\{[^}]*node="two"[^}]*outcome="ok"[^}]*\} [1-9]/m);
    expect(page).toMatch(/^moiety_balance_expected\{[^}]*node="two"/m);
    // What is known of a node goes with it.
    await until(() => answeredBy("three") === 0);
  });
});
