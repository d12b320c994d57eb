import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { settled } from "../../test/fixtures/eventually.ts";
import { readBody } from "./body.ts";

/** Only a client that never ends is given up for its slowness. */
const PATIENT = { maxBytes: 100, timeoutMs: 600_000 };

let server: Server;
let outcome: Promise<Buffer>;
let limits: typeof PATIENT;
let alignAt: number;

beforeEach(async () => {
  limits = PATIENT;
  alignAt = 0;
  server = createServer((request: IncomingMessage, response) => {
    outcome = readBody(request, limits, alignAt);
    outcome.then(
      () => response.end(),
      () => response.end(),
    );
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function send(...parts: string[]): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${parts[0]}`);
  await once(server, "request");
  for (const part of parts.slice(1)) {
    socket.write(part);
    await delay(20);
  }
  return socket;
}

describe("readBody", () => {
  test("joins a body that comes in pieces", async () => {
    await send("Content-Length: 6\r\n\r\n", "abc", "def");
    expect(String(await outcome)).toBe("abcdef");
  });

  test("joins a body in pieces so that the wanted place is aligned for any element", async () => {
    // More than one read of a socket can give.
    const sent = Array.from({ length: 50_000 }, (_, i) => String(i)).join(",");
    limits = { ...PATIENT, maxBytes: sent.length };
    const chunk = `${sent.length.toString(16)}\r\n${sent}\r\n0\r\n\r\n`;
    for (const place of [0, 1, 3, 8, 13])
      for (const parts of [
        [`Content-Length: ${sent.length}\r\n\r\n`, sent],
        ["Transfer-Encoding: chunked\r\n\r\n", chunk],
      ]) {
        alignAt = place;
        await send(...parts);
        const body = await settled(outcome);
        expect(String(body) === sent).toBe(true);
        expect((body.byteOffset + place) % 8).toBe(0);
      }
  });

  test("is empty for a request without a body", async () => {
    await send("\r\n");
    expect((await outcome).length).toBe(0);
  });

  test("refuses a body by its declared length, before any of it has come", async () => {
    await send("Content-Length: 101\r\n\r\n");
    await expect(outcome).rejects.toMatchObject({
      type: "PAYLOAD_TOO_LARGE",
      data: { receivedBytes: 101, limitBytes: 100 },
    });
  });

  test("refuses a body of undeclared length as soon as it is too large", async () => {
    await send(
      "Transfer-Encoding: chunked\r\n\r\n",
      `40\r\n${"x".repeat(64)}\r\n`,
      `40\r\n${"x".repeat(64)}\r\n`,
    );
    await expect(outcome).rejects.toMatchObject({ type: "PAYLOAD_TOO_LARGE" });
  });

  test("gives up on a client that trickles, however often a byte comes", async () => {
    limits = { maxBytes: 1_000_000, timeoutMs: 100 };
    const socket = await send("Content-Length: 1000000\r\n\r\n", "a");
    // Never ends by itself: were every byte to start the time anew, this would take more than an hour.
    const trickle = setInterval(() => socket.write("b"), 5);
    try {
      await expect(settled(outcome)).rejects.toMatchObject({
        type: "SLOW_BODY",
        code: 408,
        data: { receivedBytes: expect.any(Number) },
      });
    } finally {
      clearInterval(trickle);
    }
  });

  test("rejects when the client hangs up halfway", async () => {
    const socket = await send("Content-Length: 50\r\n\r\n", "a");
    socket.destroy();
    await expect(outcome).rejects.toMatchObject({ type: "CANCELLED" });
  });
});
