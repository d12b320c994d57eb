import { once } from "node:events";
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { until } from "../../test/fixtures/eventually.ts";
import { EventStream } from "./event-stream.ts";

let server: Server;
let subscriber: IncomingMessage;
let stream: EventStream;
let closed: number;

async function subscribe(limits = {}): Promise<void> {
  closed = 0;
  server = createServer((_, response: ServerResponse) => {
    stream = new EventStream(response, () => closed++, limits);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const request = get({ port: (server.address() as AddressInfo).port });
  [subscriber] = (await once(request, "response")) as [IncomingMessage];
  subscriber.on("error", () => {});
}

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function text(): Promise<string> {
  let received = "";
  for await (const chunk of subscriber) received += chunk;
  return received;
}

describe("EventStream", () => {
  test("numbers its events and closes after the last", async () => {
    await subscribe();
    stream.send("a", { x: 1 }, "milestone");
    stream.heartbeat();
    stream.end("z", "line\nbreak");
    stream.send("late", {}, "milestone");
    expect(await text()).toBe(
      'id: 1\nevent: a\ndata: {"x":1}\n\n: heartbeat\n\nid: 2\nevent: z\ndata: "line\\nbreak"\n\n',
    );
    expect([closed, stream.closed]).toEqual([1, true]);
  });

  test("drops progress, then milestones, and never the end, for a subscriber that does not read", async () => {
    await subscribe({ progressBytes: 10_000, milestoneBytes: 20_000 });
    subscriber.pause();
    const filler = "x".repeat(1_000);
    // Until the socket buffers are full, writing costs the stream nothing.
    for (let sent = 0; stream.dropped === 0 && sent < 100_000; sent++)
      stream.send("progress", filler, "progress");
    const dropped = stream.dropped;
    expect(dropped).toBe(1);
    stream.send("milestone", filler, "milestone");
    expect(stream.dropped).toBe(dropped);
    for (let i = 0; i < 50; i++) stream.send("milestone", filler, "milestone");
    expect(stream.dropped).toBeGreaterThan(dropped + 30);
    stream.end("end", {});
    const received = await text();
    expect(received.endsWith("event: end\ndata: {}\n\n")).toBe(true);
  });

  test("cuts off a subscriber that does not read what is left", async () => {
    await subscribe({ drainMs: 100 });
    subscriber.pause();
    for (let i = 0; i < 200; i++) stream.send("milestone", "x".repeat(100_000), "milestone");
    stream.end("end", {});
    await until(() => closed > 0);
    expect(closed).toBe(1);
  });

  test("notices a subscriber that hangs up", async () => {
    await subscribe();
    subscriber.destroy();
    await until(() => closed > 0);
    expect(stream.closed).toBe(true);
    stream.send("a", {}, "progress");
    stream.end("z", {});
  });
});
