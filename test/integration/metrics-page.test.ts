/**
 * /metrics as a Prometheus server reads it, by a parser that is not ours: our own metrics, and Triton's, whose names,
 * types and labels are copied from Triton's docs/user_guide/metrics.md.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { getMetricsFromIterator, type PromMetrics } from "prom2javascript";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

const TRITON: Record<string, { type: string; labels: string[] }> = {
  nv_inference_request_success: { type: "counter", labels: ["model", "version"] },
  nv_inference_request_failure: { type: "counter", labels: ["model", "version", "reason"] },
  nv_inference_count: { type: "counter", labels: ["model", "version"] },
  nv_inference_exec_count: { type: "counter", labels: ["model", "version"] },
  nv_inference_request_duration_us: { type: "counter", labels: ["model", "version"] },
  nv_inference_queue_duration_us: { type: "counter", labels: ["model", "version"] },
  nv_inference_compute_input_duration_us: { type: "counter", labels: ["model", "version"] },
  nv_inference_compute_infer_duration_us: { type: "counter", labels: ["model", "version"] },
  nv_inference_compute_output_duration_us: { type: "counter", labels: ["model", "version"] },
  nv_inference_pending_request_count: { type: "gauge", labels: ["model", "version"] },
  nv_model_load_duration_secs: { type: "gauge", labels: ["model", "version"] },
  nv_cache_num_hits_per_model: { type: "counter", labels: ["model", "version"] },
  nv_cache_num_misses_per_model: { type: "counter", labels: ["model", "version"] },
  nv_cache_hit_duration_per_model: { type: "counter", labels: ["model", "version"] },
};

const directories: string[] = [];
let broker: ServiceBroker | undefined;
let url: string;

async function start(tritonMetrics: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "moiety-metrics-"));
  directories.push(directory);
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
    MOIETY_TRITON_METRICS: tritonMetrics,
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  const store = await openStore(config.store);
  const onnx = await store.artifacts.put(affineModel());
  await store.close();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  const call = callOf(broker);
  const signature = { inputs: spec, outputs: spec };
  await call("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
  await eventually(async () => (await call("inference.ready", { model: "m" })).ready || undefined);
}

const infer = async (data: number[], more: object = {}) => {
  const inputs = [{ name: "x", datatype: "FP32", shape: [data.length / 3, 3], data }];
  const body = JSON.stringify({ inputs, ...more });
  return (await fetch(`${url}/v2/models/m/infer`, { method: "POST", body })).status;
};

async function page(): Promise<PromMetrics> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return getMetricsFromIterator(text.split("\n").values());
}

type Sample = { labels: Record<string, string>; value?: number };
type Distribution = {
  labels: Record<string, string>;
  buckets: Record<string, number>;
  count: number;
  sum: number;
};

function samples<T extends Sample = Sample>(page: PromMetrics, name: string, labels = {}): T[] {
  const wanted = Object.entries<string>(labels);
  const all = (page[name]?.data ?? []) as T[];
  return all.filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value));
}

/** Of a bucket, as printed. */
const bound = (text: string) => (text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text));

const firstValue = (page: PromMetrics, name: string, labels = {}) => samples(page, name, labels)[0]?.value;

afterEach(async () => {
  await broker?.stop();
  broker = undefined;
});
afterAll(() => Promise.all(directories.map((directory) => rm(directory, { recursive: true, force: true }))));

test("the page tells of every phase of a prediction, of the cache and of loads", async () => {
  await start("off");
  expect(await infer([1, 2, 3])).toBe(200);
  expect(await infer([1, 2, 3])).toBe(200);
  expect(await infer([1, 2, 3, 4, 5, 6], { parameters: { cache: false } })).toBe(200);
  const metrics = await page();
  const m = { model: "m" };
  const distribution = (name: string, labels = {}) =>
    samples<Distribution>(metrics, name, { ...m, ...labels })[0]!;
  const phases = ["queue", "compute"].map((phase) =>
    distribution("moiety_inference_phase_time", { version: "1", phase }),
  );
  for (const { count, buckets, sum } of phases) {
    expect(count).toBe(2);
    expect(buckets["+Inf"]).toBe(2);
    const bounds = Object.keys(buckets).sort((a, b) => bound(a) - bound(b));
    const counts = bounds.map((text) => buckets[text]!);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(sum).toBeGreaterThan(0);
  }
  const total = distribution("moiety_inference_request_time");
  expect(total.count).toBe(3);
  expect(phases[0]!.sum + phases[1]!.sum).toBeLessThanOrEqual(total.sum);
  expect(distribution("moiety_inference_batch_rows")).toMatchObject({ count: 2, sum: 3 });
  expect(distribution("moiety_model_load_time").count).toBe(1);
  expect(firstValue(metrics, "moiety_inference_queue_size", m)).toBe(0);
  expect(firstValue(metrics, "moiety_cache_hits", { tier: "memory" })).toBe(1);
  expect(firstValue(metrics, "moiety_cache_misses")).toBe(1);
  expect(firstValue(metrics, "moiety_model_loads", { outcome: "ok" })).toBe(1);
  expect(Object.keys(metrics).filter((name) => name.startsWith("nv_"))).toEqual([]);
});

test("with the switch on, the page has Triton's metrics too, and they agree with its statistics", async () => {
  await start("on");
  await infer([1, 2, 3]);
  await infer([1, 2, 3]);
  await infer([1, 2, 3, 4, 5, 6], { parameters: { cache: false } });
  const inputs = [{ name: "x", datatype: "FP32" as const, shape: [1, 3], data: new Float32Array([7, 8, 9]) }];
  const left = callOf(broker!)("inference.predict", { model: "m", inputs }, { signal: AbortSignal.abort() });
  expect(await left.catch(errorType)).toBe("CANCELLED");
  const metrics = await page();
  const triton = Object.entries(metrics).filter(([name]) => name.startsWith("nv_"));
  const shown = triton.map(([name, { type, data }]) => {
    const labels = Object.keys(data[0]!.labels).filter((label) => !["namespace", "nodeID"].includes(label));
    return [name, { type, labels }];
  });
  expect(Object.fromEntries(shown)).toEqual(TRITON);

  const value = (name: string) => firstValue(metrics, name, { model: "m", version: "1" });
  const stats = (await (await fetch(`${url}/v2/models/m/stats`)).json()) as {
    model_stats: [{ inference_stats: Record<string, { count: number; ns: number }> }];
  };
  const { success, queue, compute_infer, cache_hit } = stats.model_stats[0].inference_stats;
  expect(value("nv_inference_request_success")).toBe(3);
  expect(value("nv_inference_request_duration_us")).toBe(Math.round(success!.ns / 1000));
  expect(value("nv_inference_queue_duration_us")).toBe(Math.round(queue!.ns / 1000));
  expect(value("nv_inference_compute_infer_duration_us")).toBe(Math.round(compute_infer!.ns / 1000));
  expect(value("nv_cache_num_hits_per_model")).toBe(cache_hit!.count);
  expect(value("nv_inference_count")).toBe(3);
  expect(value("nv_inference_exec_count")).toBe(2);
  expect(value("nv_cache_num_misses_per_model")).toBe(1);
  expect(value("nv_inference_pending_request_count")).toBe(0);
  expect(value("nv_model_load_duration_secs")).toBeGreaterThan(0);
  const failures = samples(metrics, "nv_inference_request_failure");
  expect(failures.map(({ labels, value: count }) => [labels.reason, count])).toEqual([
    ["REJECTED", 0],
    ["CANCELED", 1],
    ["BACKEND", 0],
    ["OTHER", 0],
  ]);
});
