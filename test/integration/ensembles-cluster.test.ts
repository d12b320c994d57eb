/**
 * An ensemble on one node whose model is on another, over NATS. Every node loads every model of the registry; so that
 * one does not, its reading of the registry leaves that model out.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import type { Service, ServiceBroker, ServiceSchema } from "moleculer";
import { startNode } from "../../cli/node.ts";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import type { EnsembleStep } from "../../lib/protocol/ensembles.ts";
import type { ModelRecord } from "../../lib/protocol/models.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, settled } from "../fixtures/eventually.ts";
import { affineModel, heavyModel } from "../fixtures/onnx-models.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Of a prediction: no answer may need it. */
const DEADLINE_MS = 100_000;

let nats: RunningServer;
let environment: Record<string, string>;
let near: ServiceBroker;
let call: Call;
let nodes: ChildProcess[];

/** Keeps models whose names begin with "far" from the node it is on. */
const shortSighted: ServiceSchema = {
  name: "short-sighted",
  created(this: Service) {
    const { broker } = this;
    const ask = broker.call.bind(broker) as (...of: unknown[]) => Promise<unknown>;
    broker.call = (async (action: string, ...of: unknown[]) => {
      const answer = await ask(action, ...of);
      if (action !== "registry.list") return answer;
      return (answer as ModelRecord[]).filter(({ model }) => !model.startsWith("far"));
    }) as typeof broker.call;
  },
};

beforeEach(async () => {
  nats = await startNats();
  environment = {
    MOIETY_MODE: "cluster",
    MOIETY_NAMESPACE: `t-${randomUUID().slice(0, 8)}`,
    MOIETY_NATS_URL: nats.url,
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: String(DEADLINE_MS),
    MOIETY_LOG_LEVEL: "fatal",
  };
  nodes = [];
  const config = readConfig({ ...environment, MOIETY_NODE_ID: "near" });
  near = await startNode(config, ["registry", "inference"], [shortSighted]);
  call = callOf(near);
  await startInference("far-off");
  await publish("m", affineModel({ scale: 10 }));
  await publish("far", affineModel({ scale: 2 }));
  await eventually(async () => (await call("inference.ready", { model: "far" }, FAR)).ready || undefined);
});
afterEach(async () => {
  for (const node of nodes)
    if (node.exitCode === null && node.signalCode === null) {
      node.kill("SIGKILL");
      await once(node, "exit");
    }
  await near.stop();
  await nats.stop();
});

const NEAR = { nodeID: "near", timeout: DEADLINE_MS };
const FAR = { nodeID: "far-off", timeout: DEADLINE_MS };

async function startInference(nodeID: string): Promise<void> {
  const node = spawn(process.execPath, ["cli/node.ts", "inference"], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, ...environment, MOIETY_NODE_ID: nodeID },
    stdio: ["ignore", "pipe", "inherit"],
  });
  nodes.push(node);
  await settled(once(node.stdout!, "data"));
}

async function publish(model: string, bytes: Uint8Array, width = 3, output = "y"): Promise<void> {
  const store = await openStore(readConfig(environment).store);
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const spec = { name: "x", datatype: "FP32" as const, shape: [-1, width] };
  const signature = { inputs: [spec], outputs: [{ ...spec, name: output }] };
  await call("registry.publish", { model, artifacts: { onnx }, signature, labels: [] });
}

const step = (name: string, model: string, reads: string, writes: string): EnsembleStep => ({
  name,
  model,
  inputs: { x: reads },
  outputs: { y: writes },
});

async function publishEnsemble(model: string, steps: EnsembleStep[]): Promise<void> {
  const spec = { name: "x", datatype: "FP32" as const, shape: [-1, 3] };
  const ensemble = { inputs: [spec], outputs: [{ ...spec, name: "y" }], steps };
  await call("registry.publishEnsemble", { model, ensemble });
}

const STEPS = [
  { name: "pre", operators: [{ operator: "relu", inputs: ["x"], outputs: ["positive"] }] },
  step("here", "m", "positive", "tenfold"),
  step("there", "far", "tenfold", "y"),
];
const readyNear = (model: string) =>
  eventually(async () => {
    const { ready } = await call("inference.ready", { model }, NEAR).catch(() => ({ ready: false }));
    return ready || undefined;
  });
const predict = (value: number, options: object = NEAR, changes: object = {}) =>
  call(
    "inference.predict",
    {
      model: "e",
      cache: false,
      inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array([value, -1, 0]) }],
      ...changes,
    },
    options,
  );

test("a step goes to the node that has its model, and only that step", async () => {
  await publishEnsemble("e", STEPS);
  await readyNear("e");
  expect(errorType(await predict(1, NEAR, { model: "far" }).catch((error) => error))).toBe("MODEL_NOT_FOUND");
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => predict(i)));
  for (const [i, { outputs, steps, version }] of answers.entries()) {
    expect([...(outputs[0]!.data as Float32Array)]).toEqual([(i * 10 + 1) * 2 + 1, 3, 3]);
    expect({ steps, version }).toEqual({ steps: { here: "m/1", there: "far/1" }, version: "1" });
  }
  const done = async (model: string, options: typeof NEAR) =>
    (await call("inference.statistics", { model }, options).catch(() => []))[0]?.success.count ?? 0;
  expect([await done("m", NEAR), await done("m", FAR)]).toEqual([50, 0]);
  expect([await done("far", NEAR), await done("far", FAR)]).toEqual([0, 50]);
});

test("loses its node under load, says so for its step, and comes back with the next", async () => {
  await publishEnsemble("e", STEPS);
  await readyNear("e");
  await startInference("spare");
  await eventually(
    async () =>
      (await call("inference.ready", { model: "far" }, { ...NEAR, nodeID: "spare" }).catch(() => undefined))
        ?.ready || undefined,
  );
  let [stop, answered] = [false, 0];
  const failures: unknown[] = [];
  const clients = Array.from({ length: 8 }, async (_, client) => {
    for (let i = 0; !stop; i++) {
      const value = client * 1000 + (i % 1000);
      try {
        const { outputs } = await predict(value);
        expect(outputs[0]!.data[0]).toBe((value * 10 + 1) * 2 + 1);
        answered++;
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
  });
  await eventually(async () => answered > 100 || undefined);
  nodes[0]!.kill("SIGKILL");
  const before = answered;
  await eventually(async () => answered > before + 200 || undefined);
  stop = true;
  await settled(Promise.all(clients));
  // The step goes to the node that is left.
  expect(failures).toEqual([]);

  nodes[1]!.kill("SIGKILL");
  const error = await eventually(async () =>
    predict(1).then(
      () => undefined,
      (caught) => caught,
    ),
  );
  expect(error.message).toMatch(/^Step 'there': /);
  await eventually(async () => !(await call("inference.ready", { model: "e" }, NEAR)).ready || undefined);
  await startInference("replacement");
  await readyNear("e");
  expect((await predict(1)).steps).toEqual({ here: "m/1", there: "far/1" });
});

test("a caller that leaves takes its work on the other node along", async () => {
  await publish("far-heavy", heavyModel(1024, 8), 1024, "x8");
  const spec = { name: "x", datatype: "FP32" as const, shape: [-1, 1024] };
  await call("registry.publishEnsemble", {
    model: "e",
    ensemble: {
      inputs: [spec],
      outputs: [{ ...spec, name: "y" }],
      steps: [{ name: "there", model: "far-heavy", inputs: { x: "x" }, outputs: { x8: "y" } }],
    },
  });
  await readyNear("e");
  const rows = 64;
  const caller = new AbortController();
  const inputs = [{ name: "x", datatype: "FP32", shape: [rows, 1024], data: new Float32Array(rows * 1024) }];
  const left = Array.from({ length: 20 }, () =>
    predict(0, { ...NEAR, signal: caller.signal }, { inputs }).then(
      () => "answered",
      (error) => errorType(error),
    ),
  );
  await new Promise(setImmediate);
  caller.abort();
  expect(new Set(await Promise.all(left))).toEqual(new Set(["CANCELLED"]));
  // What was cancelled holds no place in the other node's queue.
  await predict(0, NEAR, { inputs });
  const [statistics] = await call("inference.statistics", { model: "far-heavy" }, FAR);
  expect(statistics!.pending).toBe(0);
});
