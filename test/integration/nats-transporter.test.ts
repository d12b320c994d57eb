import { ServiceBroker } from "moleculer";
import type { NatsConnection } from "nats";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import type { NatsTransporter } from "../../mixins/nats-transporter.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import { settled, until } from "../fixtures/eventually.ts";

describe("NatsTransporter", () => {
  let nats: RunningServer;
  let caller: ServiceBroker;
  let answerer: ServiceBroker;

  const node = (nodeID: string) =>
    new ServiceBroker(
      brokerOptions(
        readConfig({
          MOIETY_MODE: "cluster",
          MOIETY_NATS_URL: nats.url,
          MOIETY_NODE_ID: nodeID,
          MOIETY_LOG_LEVEL: "fatal",
        }),
      ),
    );
  const transporterOf = (broker: ServiceBroker) => broker.transit!.tx as NatsTransporter;

  beforeAll(async () => {
    nats = await startNats();
    caller = node("caller");
    answerer = node("answerer");
    answerer.createService({
      name: "echo",
      actions: {
        same: (ctx) => ctx.params,
        zeros: ({ params: { bytes } }) => new Uint8Array(bytes),
      },
    });
    await answerer.start();
    await caller.start();
    await caller.waitForServices("echo", 120_000);
  });
  afterAll(async () => {
    await caller?.stop();
    await answerer?.stop();
    await nats?.stop();
  });

  test("sends the calls of one turn together, and answers each with its own", async () => {
    const client = transporterOf(caller).client as NatsConnection;
    const publish = jest.spyOn(client, "publish");
    // Heartbeats and probes leave when they are due.
    const requestsSent = () => publish.mock.calls.filter(([topic]) => topic.includes(".REQ.")).length;
    const calls = Array.from({ length: 100 }, (_, i) => caller.call("echo.same", { i }));
    expect(requestsSent()).toBe(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(requestsSent()).toBe(100);
    publish.mockRestore();
    expect(await Promise.all(calls)).toEqual(calls.map((_, i) => ({ i })));
  });

  test("refuses a call that NATS would not take, by name, and keeps nothing of it", async () => {
    const call = caller.call("echo.same", { bytes: new Uint8Array(2 ** 20) });
    await expect(call).rejects.toMatchObject({
      code: 413,
      type: "PAYLOAD_TOO_LARGE",
      data: { limitBytes: 2 ** 20 },
    });
    expect(caller.transit!.pendingRequests.size).toBe(0);
  });

  test("tells the caller of an answer that NATS would not take", async () => {
    const call = caller.call("echo.zeros", { bytes: 2 ** 20 });
    await expect(call).rejects.toMatchObject({ code: 413, type: "PAYLOAD_TOO_LARGE" });
  });

  test("sends what is left before it disconnects", async () => {
    const leaving = node("leaving");
    await leaving.start();
    await until(() => caller.registry.nodes.get("leaving")?.available === true);
    const heard = new Promise((resolve) => caller.localBus.on("$node.disconnected", resolve));
    await leaving.stop();
    expect(await settled(heard)).toMatchObject({ node: { id: "leaving" }, unexpected: false });
  });
});
