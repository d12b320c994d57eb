/** A rollout on two inference nodes behind a real NATS server: both draw alike, and one node's verdict holds on both. */

import { randomUUID } from "node:crypto";
import type { ServiceBroker } from "moleculer";
import { startNode } from "../../cli/node.ts";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { lookupModel } from "../fixtures/onnx-models.ts";

const INFERENCE = ["inference-a", "inference-b"];
const MODEL = "table";

let nats: RunningServer;
let brokers: ServiceBroker[];
let call: Call;
const heard: unknown[] = [];

beforeAll(async () => {
  nats = await startNats();
  const environment = {
    MOIETY_MODE: "cluster",
    MOIETY_NAMESPACE: `t-${randomUUID().slice(0, 8)}`,
    MOIETY_NATS_URL: nats.url,
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  };
  const node = (nodeID: string, services: Parameters<typeof startNode>[1]) =>
    startNode(readConfig({ ...environment, MOIETY_NODE_ID: nodeID }), services);
  brokers = [await node("registry", ["registry"])];
  brokers.push(...(await Promise.all(INFERENCE.map((nodeID) => node(nodeID, ["inference"])))));
  brokers[1]!.createService({
    name: "listener",
    events: { "model.rolledBack": ({ params }: { params: unknown }) => void heard.push(params) },
  });
  call = callOf(brokers[0]!);
  await brokers[0]!.waitForServices("inference");

  const store = await openStore(readConfig(environment).store);
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 2] }];
  for (const entries of [1000, 10]) {
    const onnx = await store.artifacts.put(lookupModel(entries));
    const signature = { inputs: spec, outputs: spec };
    await call("registry.publish", { model: MODEL, artifacts: { onnx }, signature, labels: [] });
  }
  await store.close();
  await call("registry.setAlias", { model: MODEL, alias: "production", version: 1 });
  for (const nodeID of INFERENCE)
    for (const version of ["1", "2"])
      await eventually(
        async () => (await call("inference.ready", { model: MODEL, version }, { nodeID })).ready || undefined,
      );
});
afterAll(async () => {
  await Promise.all(brokers.map((broker) => broker.stop()));
  await nats.stop();
});

const predict = (nodeID: string, index: number, affinity?: string) =>
  call(
    "inference.predict",
    {
      model: MODEL,
      cache: false,
      ...(affinity !== undefined && { affinity }),
      inputs: [
        { name: "index", datatype: "INT64", shape: [1], data: BigInt64Array.of(BigInt(index)) },
        { name: "x", datatype: "FP32", shape: [1, 2], data: new Float32Array(2) },
      ],
    },
    { nodeID },
  );
const canaryOn = async (nodeID: string) =>
  (await call("inference.rollout", { model: MODEL }, { nodeID })).canary;

test("both nodes draw alike, and a roll-back by one of them holds on both", async () => {
  const bounds = { errorRate: 0.2, minRequests: 10 };
  await call("registry.rollOut", { model: MODEL, rollout: { canary: { version: 2, weight: 0.5, bounds } } });
  for (const nodeID of INFERENCE)
    await eventually(async () => (await canaryOn(nodeID))?.state === "ready" || undefined);

  const versions = await Promise.all(
    INFERENCE.map((nodeID) =>
      Promise.all(Array.from({ length: 40 }, async (_, n) => (await predict(nodeID, 5, `key ${n}`)).version)),
    ),
  );
  expect(versions[0]).toEqual(versions[1]);
  expect(new Set(versions[0])).toEqual(new Set(["1", "2"]));

  // Only the first node sees requests that the canary fails at; the other goes on with what it can answer.
  await eventually(async () => {
    const [failing, fine] = await Promise.all([predict("inference-a", 500), predict("inference-b", 5)]);
    expect([failing.outputs[0]!.data[0], fine.outputs[0]!.data[0]]).toEqual([500, 5]);
    return (await call("registry.get", { model: MODEL })).rollbacks?.length === 1 || undefined;
  });
  for (const nodeID of INFERENCE)
    await eventually(async () => (await canaryOn(nodeID)) === undefined || undefined);
  for (const nodeID of INFERENCE)
    for (let n = 0; n < 20; n++) expect((await predict(nodeID, 5)).version).toBe("1");

  const { rollout, rollbacks, aliases } = await call("registry.get", { model: MODEL });
  expect([rollout, aliases.production]).toEqual([undefined, 1]);
  expect(rollbacks).toEqual([
    {
      version: 2,
      at: expect.any(String),
      reason: expect.stringMatching(/^on node inference-a: \d+ of \d+ requests \(.*%\) failed/),
    },
  ]);
  await eventually(async () => heard.length > 0 || undefined);
  expect(heard).toEqual([{ model: MODEL, version: 2, reason: rollbacks![0]!.reason }]);
});
