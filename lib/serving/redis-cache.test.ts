import { Redis } from "ioredis";
import { type RunningServer, startRedis } from "../../cli/servers.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { systemClock } from "./clock.ts";
import { PredictionCache } from "./prediction-cache.ts";
import { RedisCache } from "./redis-cache.ts";

const outputs: Tensor[] = [
  { name: "p", datatype: "FP32", shape: [1, 2], data: new Float32Array([0.25, Number.NaN]) },
  { name: "id", datatype: "INT64", shape: [1], data: new BigInt64Array([7n]) },
];
const what = "the prediction";

let server: RunningServer;
let errors = 0;
const open: { close(): void }[] = [];
const metrics = {
  increment: (name: string) => {
    if (name === "moiety.cache.errors") errors++;
  },
  set() {},
  observe() {},
};
const redisCache = async (namespace = "test", ttlMs = 60_000) => {
  const cache = new RedisCache({
    url: server.url,
    namespace,
    ttlMs,
    clock: systemClock,
    metrics,
    restMs: 300,
  });
  open.push(cache);
  expect(await cache.connected(5000)).toBe(true);
  return cache;
};
const until = async <T>(read: () => Promise<T | undefined>, timeoutMs = 5000): Promise<T> => {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
    if (performance.now() > giveUpAt) throw new Error("it did not happen");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

beforeEach(async () => {
  server = await startRedis();
  errors = 0;
});
afterEach(async () => {
  for (const cache of open.splice(0)) cache.close();
  await server.stop();
});

describe("the Redis tier", () => {
  it("shares exact tensors between processes, within one namespace, for their time to live", async () => {
    const [writer, reader, stranger] = [
      await redisCache(),
      await redisCache(),
      await redisCache("other", 50),
    ];
    writer.put("k", outputs);
    expect(await until(() => reader.get("k"))).toEqual(outputs);
    expect(await stranger.get("k")).toBeUndefined();
    stranger.put("brief", outputs);
    await until(() => stranger.get("brief"));
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(await stranger.get("brief")).toBeUndefined();
  });

  it("takes damaged bytes for a miss", async () => {
    const cache = await redisCache();
    cache.put("k", outputs);
    await until(() => cache.get("k"));
    const vandal = new Redis(server.url);
    await vandal.setrange("test:prediction:k", 30, "xx");
    await vandal.set("test:prediction:text", "hello");
    expect(await cache.get("k")).toBeUndefined();
    expect(await cache.get("text")).toBeUndefined();
    vandal.disconnect();
    expect(errors).toBe(0);
  });

  it("neither throws nor waits while Redis is gone, and works again when it is back", async () => {
    const redis = await redisCache();
    const cache = new PredictionCache({ maxBytes: 1, ttlMs: 1000, clock: systemClock, metrics, redis });
    let computed = 0;
    const ask = async () => {
      const startedAt = performance.now();
      const answer = await cache.answer(
        "k",
        async () => {
          computed++;
          return outputs;
        },
        { what },
      );
      return { ...answer, tookMs: performance.now() - startedAt };
    };
    await ask();
    expect(await until(async () => ((await ask()).cached ? true : undefined))).toBe(true);

    const { port } = server;
    await server.stop();
    const before = computed;
    const during = [];
    for (let i = 0; i < 50; i++) {
      during.push(await ask());
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(computed - before).toBe(50);
    expect(Math.max(...during.map(({ tookMs }) => tookMs))).toBeLessThan(150);
    expect(during.filter(({ tookMs }) => tookMs > 50).length).toBeLessThanOrEqual(2);
    expect(errors).toBeGreaterThan(0);
    // One per rest of 300 ms, not one per request.
    expect(errors).toBeLessThan(10);

    server = await startRedis({ port });
    await until(async () => ((await ask()).cached ? true : undefined));
  });

  it("waits for a Redis that hangs once per rest, and no longer than the command timeout", async () => {
    const cache = await redisCache();
    server.kill("SIGSTOP");
    const times = [];
    for (let i = 0; i < 20; i++) {
      const startedAt = performance.now();
      expect(await cache.get("k")).toBeUndefined();
      times.push(performance.now() - startedAt);
    }
    server.kill("SIGCONT");
    expect(times[0]).toBeGreaterThan(50);
    expect(times[0]).toBeLessThan(400);
    expect(Math.max(...times.slice(1))).toBeLessThan(50);
    cache.put("again", outputs);
    await until(async () => {
      cache.put("again", outputs);
      return cache.get("again");
    });
  });

  it("starts without Redis", async () => {
    await server.stop();
    const cache = new RedisCache({
      url: server.url,
      namespace: "test",
      ttlMs: 1000,
      clock: systemClock,
      metrics,
    });
    open.push(cache);
    expect(await cache.connected(50)).toBe(false);
    expect(await cache.get("k")).toBeUndefined();
    cache.put("k", outputs);
    expect(errors).toBe(1);
  });
});
