import { ServiceBroker } from "moleculer";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { type Config, readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import type { ArtifactRef } from "../../lib/store/store.ts";
import { callOf } from "../../mixins/config.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import registry from "../../services/registry.service.ts";
import { eventually, until } from "../fixtures/eventually.ts";

let nats: RunningServer;
const nodes: ServiceBroker[] = [];
let caller: ServiceBroker;
let onnx: ArtifactRef;
const facts: unknown[] = [];

function configFor(nodeID: string): Config {
  return readConfig({
    MOIETY_MODE: "cluster",
    MOIETY_NATS_URL: nats.url,
    MOIETY_NAMESPACE: "registry-test",
    MOIETY_NODE_ID: nodeID,
    MOIETY_LOG_LEVEL: "fatal",
  });
}

beforeAll(async () => {
  nats = await startNats();
  for (const nodeID of ["registry-1", "registry-2", "caller"])
    nodes.push(new ServiceBroker(brokerOptions(configFor(nodeID))));
  caller = nodes[2]!;
  for (const node of nodes.slice(0, 2)) node.createService(registry);
  caller.createService({
    name: "listener",
    events: { "model.published": (ctx: { params: unknown }) => void facts.push(ctx.params) },
  });
  await Promise.all(nodes.map((node) => node.start()));
  for (const nodeID of ["registry-1", "registry-2"])
    await eventually(() => callOf(caller)("registry.list", {}, { nodeID }));
  const store = await openStore(configFor("x").store);
  onnx = await store.artifacts.put(new Uint8Array([1, 2, 3]));
  await store.close();
});
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await nats?.stop();
});

const publication = () => ({
  model: "mnist",
  artifacts: { onnx },
  signature: {
    inputs: [{ name: "image", datatype: "UINT8" as const, shape: [-1, 28, 28] }],
    outputs: [{ name: "probabilities", datatype: "FP32" as const, shape: [-1, 10] }],
  },
  labels: ["0", "1"],
});

test("gives twenty publications through two registries twenty versions, seen by both", async () => {
  const call = callOf(caller);
  const versions = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      call("registry.publish", publication(), { nodeID: `registry-${(n % 2) + 1}` }),
    ),
  );
  const expected = Array.from({ length: 20 }, (_, n) => n + 1);
  expect(versions.map(({ version }) => version).toSorted((a, b) => a - b)).toEqual(expected);
  for (const nodeID of ["registry-1", "registry-2"])
    expect((await call("registry.get", { model: "mnist" }, { nodeID })).versions).toEqual(expected);
  await until(() => facts.length === 20);
});

test("carries an error's code, type, data and retryability from node to node", async () => {
  const call = callOf(caller);
  await expect(call("registry.version", { model: "mnist", version: "99" })).rejects.toMatchObject({
    name: "ModelVersionNotFoundError",
    message: expect.stringContaining("'mnist' version '99' is not found"),
    code: 404,
    type: "MODEL_VERSION_NOT_FOUND",
    retryable: false,
    data: { model: "mnist", version: "99", available: expect.arrayContaining([1, 20]) },
  });
  await expect(call("registry.setAlias", { model: "mnist", alias: "1", version: 1 })).rejects.toMatchObject({
    code: 400,
    type: "INVALID_INPUT",
    data: { field: "alias", received: '"1"' },
  });
  await expect(caller.call("registry.get", { model: 1 })).rejects.toMatchObject({
    code: 422,
    type: "VALIDATION_ERROR",
    data: [expect.objectContaining({ field: "model", type: "string" })],
  });
});
