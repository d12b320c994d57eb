/** gRPC's own health service, asked and watched, in front of an inference service whose readiness the test decides. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type ChannelOptions,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Context, ServiceBroker } from "moleculer";
import { grpcAddress, startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { ModelNotFoundError } from "../../lib/errors.ts";
import type { Readiness } from "../../lib/protocol/inference.ts";
import { eventually, settled, until } from "../fixtures/eventually.ts";

type Answer = { status: string };
type HealthClient = InstanceType<ServiceClientConstructor> & {
  Check(request: object, callback: (error: ServiceError | null, answer: Answer) => void): void;
  Watch(request: object): ClientReadableStream<Answer>;
};

const PROTO = fileURLToPath(new URL("../fixtures/health.proto", import.meta.url));
const loaded = loadPackageDefinition(loadSync(PROTO, { enums: String, defaults: true })) as unknown as {
  grpc: { health: { v1: { Health: ServiceClientConstructor } } };
};

/** Ready or not, by model; the server is ready when all are. */
let models: Record<string, boolean>;
let asked = 0;

const scripted = {
  name: "inference",
  actions: {
    ready({ params: { model } }: Context<{ model?: string }>): Readiness {
      asked++;
      if (model !== undefined && models[model] === undefined) throw new ModelNotFoundError(model);
      const ready = model === undefined ? Object.values(models).every(Boolean) : models[model]!;
      return { ready, reason: "" };
    },
  },
};

const directory = mkdtempSync(join(tmpdir(), "moiety-grpc-health-"));
let broker: ServiceBroker;
let client: HealthClient;

beforeEach(async () => {
  models = { a: true, b: true };
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["gateway"], [scripted]);
  client = connect();
});

afterEach(async () => {
  client.close();
  await stopNode(broker);
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

const connect = (options: ChannelOptions = {}) =>
  new loaded.grpc.health.v1.Health(
    grpcAddress(broker)!,
    credentials.createInsecure(),
    options,
  ) as unknown as HealthClient;

const check = (service?: string) =>
  settled(
    new Promise<string>((resolve) => {
      client.Check(service === undefined ? {} : { service }, (error, answer) =>
        resolve(error ? (status[error.code] as string) : answer.status),
      );
    }),
  );

function watch(service: string, by = client) {
  const stream = by.Watch({ service });
  const told: string[] = [];
  stream.on("data", (answer: Answer) => told.push(answer.status));
  const ended = new Promise<string>((resolve) => {
    stream.on("error", () => {});
    stream.on("status", ({ code }) => resolve(status[code] as string));
  });
  return { stream, told, ended };
}

test("a check answers for the server, and for each model by its name", async () => {
  expect(await check()).toBe("SERVING");
  expect(await check("inference.GRPCInferenceService")).toBe("SERVING");
  expect(await check("a")).toBe("SERVING");
  models.a = false;
  expect(await check("a")).toBe("NOT_SERVING");
  expect(await check("b")).toBe("SERVING");
  expect(await check()).toBe("NOT_SERVING");
  expect(await check("nosuch")).toBe("NOT_FOUND");
  expect(await check("x".repeat(2000))).toBe("INVALID_ARGUMENT");
});

test("who watches is told at once, and of every change", async () => {
  const [all, a, unknown] = [watch(""), watch("a"), watch("new")];
  await until(() => all.told.length === 1 && a.told.length === 1 && unknown.told.length === 1);
  models.new = false;
  // The event says so; a node that is gone says nothing, and is seen all the same.
  broker.emit("model.loaded", { model: "new", version: "1" });
  await until(() => all.told.length === 2 && unknown.told.length === 2);
  models.new = true;
  await until(() => all.told.length === 3 && unknown.told.length === 3);
  expect(all.told).toEqual(["SERVING", "NOT_SERVING", "SERVING"]);
  expect(unknown.told).toEqual(["SERVICE_UNKNOWN", "NOT_SERVING", "SERVING"]);
  expect(a.told).toEqual(["SERVING"]);
  for (const { stream } of [all, a, unknown]) stream.cancel();
});

test("nobody is asked any more when nobody watches", async () => {
  const watching = watch("a");
  await until(() => watching.told.length === 1);
  watching.stream.cancel();
  await settled(watching.ended);
  const service = broker.getLocalService("gateway") as unknown as { gateway: { onModel(of: object): void } };
  // Once the cancellation has arrived a change has nobody to be told to: only the check asks.
  await eventually(async () => {
    const before = asked;
    service.gateway.onModel({ model: "a" });
    await check("b");
    return asked === before + 1 || undefined;
  });
});

test("a gateway that stops is not serving before it stops answering, and ends watches", async () => {
  const watching = watch("a");
  await until(() => watching.told.length === 1);
  const stopped = stopNode(broker);
  await until(() => watching.told.length === 2);
  expect(watching.told).toEqual(["SERVING", "NOT_SERVING"]);
  expect(await settled(watching.ended)).toBe("UNAVAILABLE");
  await settled(stopped);
});

test("there are only so many watches", async () => {
  const watches = Array.from({ length: 1024 }, () => watch("a"));
  await until(() => watches.every(({ told }) => told.length === 1));
  const other = connect({ "grpc.use_local_subchannel_pool": 1 });
  expect(await settled(watch("a", other).ended)).toBe("UNAVAILABLE");
  other.close();
  for (const { stream } of watches) stream.cancel();
});
