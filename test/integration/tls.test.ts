/** HTTPS and gRPC over TLS, in front of a real broker: who is let in, files that change, and stopping. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, type RequestOptions, request } from "node:https";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { credentials, status } from "@grpc/grpc-js";
import { ServiceBroker } from "moleculer";
import { gatewayUrl, grpcAddress, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import gatewayService from "../../services/gateway.service.ts";
import { type Certificate, throwAwayCertificate } from "../fixtures/certificate.ts";
import { eventually, settled } from "../fixtures/eventually.ts";
import { OipClient } from "../fixtures/grpc-client.ts";

const directory = mkdtempSync(join(tmpdir(), "moiety-tls-"));
const [server, other, client] = ["server", "other", "client"].map(throwAwayCertificate) as [
  Certificate,
  Certificate,
  Certificate,
];
const at = (name: string) => join(directory, name);
const writeServer = ({ cert, key }: Certificate): void => {
  writeFileSync(at("cert.pem"), cert);
  writeFileSync(at("key.pem"), key);
};

let broker: ServiceBroker | undefined;

beforeEach(() => {
  writeServer(server);
  writeFileSync(at("clients.pem"), client.cert);
});

afterEach(async () => {
  await broker?.stop();
  broker = undefined;
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function start(variables: Record<string, string> = {}, settings: object = {}): Promise<ServiceBroker> {
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_LOG_LEVEL: "fatal",
    MOIETY_TLS_CERT: at("cert.pem"),
    MOIETY_TLS_KEY: at("key.pem"),
    ...variables,
  });
  broker = new ServiceBroker(brokerOptions(config));
  broker.createService({ ...gatewayService, settings: { ...gatewayService.settings, ...settings } });
  await broker.start();
  return broker;
}

/** The status of a GET, or the code of what went wrong. */
function get(node: ServiceBroker, options: RequestOptions): Promise<number | string> {
  return settled(
    new Promise((resolve) => {
      const asked = request(
        `${gatewayUrl(node)}/v2/health/live`,
        { agent: false, ...options },
        (response) => {
          response.resume().once("end", () => resolve(response.statusCode!));
        },
      );
      asked.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)).end();
    }),
  );
}

/** A connection of its own, and a name for it, which an address is not. */
const OPTIONS = { "grpc.use_local_subchannel_pool": 1, "grpc.ssl_target_name_override": "localhost" };

/** The code of `ServerLive`. */
async function call(node: ServiceBroker, by: ReturnType<typeof credentials.createSsl>): Promise<string> {
  const asking = new OipClient(grpcAddress(node)!, OPTIONS, by);
  const code = await settled(
    asking.call("ServerLive").then(
      () => status.OK,
      ({ code }: { code: number }) => code,
    ),
  );
  asking.close();
  return status[code]!;
}

const ssl = (authority: Certificate, own?: Certificate) =>
  own
    ? credentials.createSsl(Buffer.from(authority.cert), Buffer.from(own.key), Buffer.from(own.cert))
    : credentials.createSsl(Buffer.from(authority.cert));

test("HTTPS and gRPC prove who the server is, and speak no other way", async () => {
  const node = await start();
  expect(gatewayUrl(node)).toMatch(/^https:/);
  expect(await get(node, { ca: server.cert })).toBe(200);
  expect(await call(node, ssl(server))).toBe("OK");
  expect(await get(node, { ca: other.cert })).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
  expect(await call(node, ssl(other))).toBe("UNAVAILABLE");
  expect(await call(node, credentials.createInsecure())).toBe("UNAVAILABLE");
  await expect(fetch(gatewayUrl(node).replace("https:", "http:"))).rejects.toThrow();
  expect(await get(node, { ca: server.cert })).toBe(200);
});

test("clients must prove themselves where an authority for them is set", async () => {
  const node = await start({ MOIETY_TLS_CLIENT_CA: at("clients.pem") });
  expect(await get(node, { ca: server.cert, ...client })).toBe(200);
  expect(await call(node, ssl(server, client))).toBe("OK");
  for (const own of [{}, other]) expect(await get(node, { ca: server.cert, ...own })).not.toBe(200);
  expect(await call(node, ssl(server))).toBe("UNAVAILABLE");
  expect(await call(node, ssl(server, other))).toBe("UNAVAILABLE");
});

test("files that change are used for new connections, and open ones stay", async () => {
  const node = await start({}, { tlsReadEveryMs: 20 });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  expect(await get(node, { agent, ca: server.cert })).toBe(200);
  writeServer(other);
  await eventually(async () => (await get(node, { ca: other.cert })) === 200 || undefined);
  await eventually(async () => (await call(node, ssl(other))) === "OK" || undefined);
  expect(await get(node, { ca: server.cert })).toBe("DEPTH_ZERO_SELF_SIGNED_CERT");
  expect(await get(node, { agent, ca: server.cert })).toBe(200);
  agent.destroy();
});

test("a key that does not belong to its certificate stops the start, by name", async () => {
  writeFileSync(at("key.pem"), other.key);
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_TLS_CERT: at("cert.pem"),
    MOIETY_TLS_KEY: at("key.pem"),
  });
  await expect(startNode(config, ["gateway"])).rejects.toMatchObject({
    type: "CONFIG_INVALID",
    data: { variable: "MOIETY_TLS_KEY" },
  });
});

describe("stopping", () => {
  const closed = (socket: Socket | TLSSocket) =>
    settled(new Promise((resolve) => socket.on("error", () => {}).once("close", resolve)));

  test("closes a connection that is idle, and one on which nobody ever spoke", async () => {
    const node = await start({}, { stopTimeoutMs: 1000 });
    const { hostname, port } = new URL(gatewayUrl(node));
    const silent = connect(Number(port), hostname);
    // Of gRPC: the gateway does not wait for it, but neither can it close it before its handshake's time-out.
    const other = connect(Number(grpcAddress(node)!.split(":")[1]), hostname).on("error", () => {});
    const idle = connectTls({ port: Number(port), host: hostname, ca: server.cert });
    await settled(new Promise((resolve) => idle.once("secureConnect", resolve)));
    const ends = [silent, idle].map(closed);
    await settled(node.stop());
    await Promise.all(ends);
    other.destroy();
    broker = undefined;
  });
});
