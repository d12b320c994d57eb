import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { startNode } from "../../cli/node.ts";
import { type RunningServer, startNats, startRedis } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, settled, until } from "../fixtures/eventually.ts";
import { affineModel, lookupModel, randomStream } from "../fixtures/onnx-models.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Of a prediction: no answer may need it. */
const DEADLINE_MS = 100_000;

let nats: RunningServer;
let redis: RunningServer;
let environment: Record<string, string>;
let caller: ServiceBroker;
let call: Call;
let nodes: ChildProcess[];

beforeEach(async () => {
  [nats, redis] = await Promise.all([startNats(), startRedis()]);
  environment = {
    MOIETY_MODE: "cluster",
    MOIETY_NAMESPACE: `t-${randomUUID().slice(0, 8)}`,
    MOIETY_NATS_URL: nats.url,
    MOIETY_REDIS_URL: redis.url,
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: String(DEADLINE_MS),
    MOIETY_LOG_LEVEL: "fatal",
  };
  nodes = [];
  caller = await startNode(readConfig({ ...environment, MOIETY_NODE_ID: "caller" }), ["registry"]);
  call = callOf(caller);
  await Promise.all(["inference-a", "inference-b"].map(startInference));
  await publish("m", affineModel({ scale: 10 }));
  for (const nodeID of ["inference-a", "inference-b"]) await loaded("m", nodeID);
});
afterEach(async () => {
  for (const node of nodes)
    if (node.exitCode === null && node.signalCode === null) {
      node.kill("SIGKILL");
      await once(node, "exit");
    }
  await caller.stop();
  await Promise.all([nats.stop(), redis.stop()]);
});

async function startInference(nodeID: string): Promise<void> {
  const node = spawn(process.execPath, ["cli/node.ts", "inference"], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...environment, MOIETY_NODE_ID: nodeID },
    stdio: ["ignore", "pipe", "inherit"],
  });
  nodes.push(node);
  await settled(once(node.stdout!, "data"));
}

async function publish(model: string, bytes: Uint8Array): Promise<void> {
  const store = await openStore(readConfig(environment).store);
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  await call("registry.publish", {
    model,
    artifacts: { onnx },
    signature: { inputs: spec, outputs: spec },
    labels: [],
  });
}

const loaded = (model: string, nodeID: string) =>
  eventually(async () => (await call("inference.ready", { model }, { nodeID })).ready || undefined);

const predict = (value: number, options: { nodeID?: string } = {}, cache = false) =>
  call(
    "inference.predict",
    {
      model: "m",
      cache,
      inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array([value, 0, 0]) }],
    },
    { timeout: DEADLINE_MS, ...options },
  );

describe("two inference processes behind NATS", () => {
  it("give every caller its own rows, with exact types, whatever the batch", async () => {
    await publish("lookup", lookupModel(1000));
    for (const nodeID of ["inference-a", "inference-b"]) await loaded("lookup", nodeID);
    const next = randomStream(5);
    const one = async () => {
      const indices = Array.from({ length: 1 + Math.floor(next() * 5) }, () => Math.floor(next() * 1000));
      const { outputs } = await call("inference.predict", {
        model: "lookup",
        inputs: [
          {
            name: "index",
            datatype: "INT64",
            shape: [indices.length],
            data: BigInt64Array.from(indices, BigInt),
          },
          {
            name: "x",
            datatype: "FP32",
            shape: [indices.length, 2],
            data: new Float32Array(indices.length * 2),
          },
        ],
      });
      expect(outputs[0]!.data).toEqual(Float32Array.from(indices.flatMap((i) => [i, -i])));
    };
    await Promise.all(Array.from({ length: 300 }, one));
  });

  it("share predictions through Redis, and go on when it is gone and when it is back", async () => {
    expect((await predict(1, { nodeID: "inference-a" }, true)).cached).toBe(false);
    await eventually(async () => (await predict(1, { nodeID: "inference-b" }, true)).cached || undefined);
    const { port } = redis;
    await redis.stop();
    for (let i = 0; i < 50; i++)
      expect((await predict(100 + i, {}, true)).outputs[0]!.data[0]).toBe((100 + i) * 10 + 1);
    redis = await startRedis({ port });
    let value = 1000;
    await eventually(async () => {
      value++;
      await predict(value, { nodeID: "inference-a" }, true);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return (await predict(value, { nodeID: "inference-b" }, true)).cached || undefined;
    });
  });

  it("send errors across with their type, code and data", async () => {
    const error = await call("inference.predict", { model: "m", inputs: [] }).catch((caught) => caught);
    expect([error.type, error.code, error.data]).toEqual([
      "INVALID_INPUT",
      400,
      { field: "inputs", received: "no inputs", expected: 'an input "x"' },
    ]);
  });

  it("lose one to SIGKILL under load: every call is answered, and later ones all succeed", async () => {
    const isMissed = () => caller.registry.nodes.get("inference-a")?.available !== true;
    let [stop, answered, answeredAfter] = [false, 0, 0];
    const failures: string[] = [];
    const clients = Array.from({ length: 16 }, async (_, client) => {
      for (let i = 0; !stop; i++) {
        const value = client * 10_000 + (i % 5000);
        const late = isMissed();
        try {
          const { outputs } = await predict(value);
          expect(outputs[0]!.data[0]).toBe(Math.fround(value * 10 + 1));
          answered++;
          if (late) answeredAfter++;
        } catch (error) {
          // Until the loss was noticed: a clear refusal at most, never a deadline. From then on: none.
          const type = errorType(error);
          if (late || type === "DEADLINE_EXCEEDED" || type === "REQUEST_TIMEOUT")
            failures.push(`${type} ${late ? "late" : "in flight"}`);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      }
    });
    await until(() => answered > 200);
    expect(failures).toEqual([]);
    nodes[0]!.kill("SIGKILL");
    await until(() => answeredAfter > 200);
    stop = true;
    await settled(Promise.all(clients));
    expect(failures).toEqual([]);
  });

  it("finish what they have when told to stop", async () => {
    let answered = 0;
    const clients = Promise.all(
      Array.from({ length: 8 }, async (_, client) => {
        for (let i = 0; i < 100; i++) {
          await predict(client * 1000 + i);
          answered++;
        }
      }),
    );
    await until(() => answered > 20);
    // Heard from the start: the node may be gone before the last client is answered by the other.
    const exited = once(nodes[1]!, "exit");
    nodes[1]!.kill("SIGTERM");
    await clients;
    await exited;
    expect(nodes[1]!.exitCode).toBe(0);
  });
});
