import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type LoadOrder, runLoad } from "./load.ts";
import { arrivalTimes } from "./open-loop.ts";
import { percentile } from "./tally.ts";

async function withServer<T>(listener: RequestListener, body: (url: string) => Promise<T>): Promise<T> {
  const server: Server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await body(`http://127.0.0.1:${(server.address() as AddressInfo).port}/predict`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const order = (url: string, minRight = 1): LoadOrder => ({
  target: { url, headers: { "Content-Type": "application/json" }, answers: "json" },
  requests: [3, 4].map((digit) => ({
    body: Buffer.from(JSON.stringify({ image: [digit] })).toString("base64"),
    digit,
  })),
  minRight,
  connections: 2,
  warmUpMs: 20,
  // Up to ten times as long for a server, or a machine, that does not answer so soon.
  durationMs: 1000,
});

describe("the load generator", () => {
  test("counts answers that are right for the request they belong to", async () => {
    const result = await withServer(
      (request, response) => {
        request.on("data", (body: Buffer) => {
          const [prediction] = (JSON.parse(body.toString()) as { image: number[] }).image;
          response.end(JSON.stringify({ prediction }));
        });
      },
      (url) => runLoad(order(url)),
    );
    expect(result.right).toBe(result.requests);
    expect(result.requestsPerSecond).toBeGreaterThan(0);
    expect(result.p99Ms).toBeGreaterThanOrEqual(result.p50Ms);
  });

  test("fails a server that answers wrong digits, and allows as many as it was told to", async () => {
    const always3: RequestListener = (_request, response) => response.end('{"prediction":3}');
    await withServer(always3, async (url) => {
      await expect(runLoad(order(url))).rejects.toThrow("wrong digits");
      await expect(runLoad(order(url, 0.4))).resolves.toMatchObject({ requests: expect.any(Number) });
    });
  });

  test("fails a server that answers an error, with what it said", async () => {
    const busy: RequestListener = (_request, response) => response.writeHead(503).end("queue full");
    await withServer(busy, (url) => expect(runLoad(order(url))).rejects.toThrow("status 503: queue full"));
  });

  test("fails when nothing listens", async () => {
    const url = await withServer(
      () => {},
      (free) => Promise.resolve(free),
    );
    await expect(runLoad(order(url))).rejects.toThrow("ECONNREFUSED");
  });

  test("takes percentiles by nearest rank", () => {
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
    expect([0.5, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 99, 100]);
    expect(percentile([7], 0.99)).toBe(7);
  });

  test("counts latencies from when requests should have been sent, not from when a connection was free", async () => {
    const slowMs = 50;
    const result = await withServer(
      (request, response) => {
        request.on("data", (body: Buffer) => {
          const [prediction] = (JSON.parse(body.toString()) as { image: number[] }).image;
          setTimeout(() => response.end(JSON.stringify({ prediction })), slowMs);
        });
      },
      // One connection answers 20 a second at most: of 40 in that second, the last waits as long again.
      (url) => runLoad({ ...order(url), connections: 1, warmUpMs: 0, arrivals: { perSecond: 40, seed: 1 } }),
    );
    expect(result.right).toBe(result.requests);
    expect(result.p99Ms).toBeGreaterThan(4 * slowMs);
  });

  test("draws the same arrivals for the same seed, at the rate asked for", () => {
    const times = (seed: number) => arrivalTimes({ perSecond: 1000, seed }, 100, 10_100);
    expect(times(1)).toEqual(times(1));
    expect(times(2)).not.toEqual(times(1));
    // Ten thousand arrivals vary by a hundred: five such deviations never happen.
    expect(Math.abs(times(1).length - 10_000)).toBeLessThan(500);
    expect(times(1).every((time, i, all) => time >= (all[i - 1] ?? 100) && time < 10_100)).toBe(true);
  });
});
