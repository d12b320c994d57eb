import { ServiceBroker } from "moleculer";
import { readConfig } from "../lib/config.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { metricSinkOf } from "./metrics.ts";
import { metricsTextOf } from "./prometheus-reporter.ts";

let broker: ServiceBroker;

beforeEach(async () => {
  broker = new ServiceBroker(brokerOptions(readConfig({ MOIETY_LOG_LEVEL: "fatal", MOIETY_NODE_ID: "n" })));
  broker.createService({
    name: "s",
    actions: {
      ok: () => 1,
      bad: () => {
        throw new TypeError("no");
      },
      nested: (ctx) => ctx.call("s.ok"),
    },
  });
  await broker.start();
});
afterEach(() => broker.stop());

const lines = (name: string) =>
  metricsTextOf(broker)
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`))
    .map((line) =>
      line.replace('namespace="moiety",nodeID="n",', "").replace('{namespace="moiety",nodeID="n"}', "{}"),
    );

describe("metricSinkOf", () => {
  test("registers once, and counts, sets and observes with labels", () => {
    const sink = metricSinkOf(broker);
    metricSinkOf(broker).increment("moiety.cache.hits", { tier: "memory" });
    sink.increment("moiety.cache.hits", { tier: "memory" }, 2);
    sink.set("moiety.inference.queue.size", 7, { model: 'a"\n\\' });
    sink.observe("moiety.inference.batch.rows", 3, { model: "m" });
    expect(lines("moiety_cache_hits")).toEqual(['moiety_cache_hits{tier="memory"} 3']);
    expect(lines("moiety_inference_queue_size")).toEqual([
      'moiety_inference_queue_size{model="a\\"\\n\\\\"} 7',
    ]);
    expect(lines("moiety_inference_batch_rows_bucket").slice(0, 3)).toEqual([
      'moiety_inference_batch_rows_bucket{model="m",le="1"} 0',
      'moiety_inference_batch_rows_bucket{model="m",le="2"} 0',
      'moiety_inference_batch_rows_bucket{model="m",le="4"} 1',
    ]);
    expect(lines("moiety_inference_batch_rows_sum")).toEqual([
      'moiety_inference_batch_rows_sum{model="m"} 3',
    ]);
  });
});

describe("call metrics", () => {
  test("keep Moleculer's names, labels and meaning", async () => {
    await broker.call("s.ok");
    await broker.call("s.nested");
    await broker.call("s.bad").catch(() => {});
    const total = (action: string, caller: string) =>
      lines("moleculer_request_total").find(
        (l) => l.includes(`"${action}"`) && l.includes(`caller="${caller}"`),
      );
    expect(total("s.ok", "")).toMatch(/service="s".* 1$/);
    expect(total("s.ok", "s")).toMatch(/type="local".* 1$/);
    expect(lines("moleculer_request_active").every((line) => line.endsWith(" 0"))).toBe(true);
    expect(lines("moleculer_request_levels")).toContain('moleculer_request_levels{level="2"} 1');
    expect(lines("moleculer_request_time_count").filter((line) => line.includes('"s.ok"'))).toHaveLength(2);
    expect(lines("moleculer_request_error_total")[0]).toMatch(/errorName="TypeError".* 1$/);
    const infinite = lines("moleculer_request_time_bucket").filter((line) => line.includes('le="+Inf"'));
    expect(infinite.every((line) => line.endsWith(" 1"))).toBe(true);
  });
});
