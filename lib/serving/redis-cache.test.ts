import { Redis } from "ioredis";
import { type RunningServer, startRedis } from "../../cli/servers.ts";
import { eventually, settlesAtOnce, until } from "../../test/fixtures/eventually.ts";
import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { systemClock } from "./clock.ts";
import { PredictionCache } from "./prediction-cache.ts";
import { RedisCache } from "./redis-cache.ts";

const outputs: Tensor[] = [
  { name: "p", datatype: "FP32", shape: [1, 2], data: new Float32Array([0.25, Number.NaN]) },
  { name: "id", datatype: "INT64", shape: [1], data: new BigInt64Array([7n]) },
];
const what = "the prediction";

const REST_MS = 300;

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
type Settings = Partial<ConstructorParameters<typeof RedisCache>[0]>;
/** Gives commands a minute unless told otherwise, so that only a Redis that hangs is taken for one. */
const redisCache = async (settings: Settings = {}) => {
  const cache = new RedisCache({
    url: server.url,
    namespace: "test",
    ttlMs: 60_000,
    clock: systemClock,
    metrics,
    restMs: REST_MS,
    commandTimeoutMs: 60_000,
    ...settings,
  });
  open.push(cache);
  expect(await cache.connected(60_000)).toBe(true);
  return cache;
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
      await redisCache({ namespace: "other", ttlMs: 50 }),
    ];
    writer.put("k", outputs);
    expect(await eventually(() => reader.get("k"))).toEqual(outputs);
    expect(await stranger.get("k")).toBeUndefined();

    const observer = new Redis(server.url);
    const expired: string[] = [];
    await observer.config("SET", "notify-keyspace-events", "Ex");
    await observer.subscribe("__keyevent@0__:expired");
    observer.on("message", (_, key: string) => expired.push(key));
    stranger.put("brief", outputs);
    await until(() => expired.includes("other:prediction:brief"));
    expect(await stranger.get("brief")).toBeUndefined();
    expect(await reader.get("k")).toEqual(outputs);
    observer.disconnect();
  });

  it("takes damaged bytes for a miss", async () => {
    const cache = await redisCache();
    cache.put("k", outputs);
    await eventually(() => cache.get("k"));
    const vandal = new Redis(server.url);
    await vandal.setrange("test:prediction:k", 30, "xx");
    await vandal.set("test:prediction:text", "hello");
    expect(await cache.get("k")).toBeUndefined();
    expect(await cache.get("text")).toBeUndefined();
    vandal.disconnect();
    expect(errors).toBe(0);
  });

  it("neither throws nor waits while Redis is gone, and works again when it is back", async () => {
    const clock = new FakeClock();
    const redis = await redisCache({ clock });
    const cache = new PredictionCache({ maxBytes: 1, ttlMs: 1000, clock: systemClock, metrics, redis });
    let computed = 0;
    const ask = () =>
      cache.answer(
        "k",
        async () => {
          computed++;
          return outputs;
        },
        { what, model: "m" },
      );
    await ask();
    await eventually(async () => (await ask()).cached || undefined);
    expect(errors).toBe(0);

    const { port } = server;
    await server.stop();
    const before = computed;
    // The first may find the connection that Redis has just closed.
    await eventually(async () => {
      await ask();
      return errors > 0 || undefined;
    });
    for (let rest = 1; rest <= 3; rest++) {
      // One error per rest, not one per request; and nobody waits for the network.
      for (let i = 0; i < 20; i++) expect(await settlesAtOnce(ask())).toBe(true);
      expect(errors).toBe(rest);
      clock.advance(REST_MS);
      await ask();
    }
    expect(computed - before).toBeGreaterThanOrEqual(64);

    server = await startRedis({ port });
    await eventually(async () => {
      clock.advance(REST_MS);
      return (await ask()).cached || undefined;
    });
  });

  it("waits for a Redis that hangs once per rest, and no longer than the command timeout", async () => {
    const clock = new FakeClock();
    const cache = await redisCache({ clock, commandTimeoutMs: 100 });
    server.kill("SIGSTOP");
    for (let rest = 1; rest <= 2; rest++) {
      const startedAt = performance.now();
      const waiting = cache.get("k");
      expect(await settlesAtOnce(waiting)).toBe(false);
      // Once it has failed, one request tries at a time.
      if (rest > 1) expect(await settlesAtOnce(cache.get("k"))).toBe(true);
      // Redis says nothing before it is told to go on, so this ends by the timeout.
      expect(await waiting).toBeUndefined();
      expect(performance.now() - startedAt).toBeGreaterThan(90);
      const before = errors;
      for (let i = 0; i < 20; i++) expect(await settlesAtOnce(cache.get("k"))).toBe(true);
      expect(errors).toBe(before);
      clock.advance(REST_MS);
    }
    server.kill("SIGCONT");
    await eventually(async () => {
      clock.advance(REST_MS);
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
