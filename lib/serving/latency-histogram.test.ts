import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { LatencyHistogram } from "./latency-histogram.ts";

const of = (latencies: readonly number[]) => {
  const histogram = new LatencyHistogram();
  for (const tookMs of latencies) histogram.add(tookMs);
  return histogram;
};

test("gives quantiles to within a bucket of 5%", () => {
  const random = randomStream(3);
  const latencies = Array.from({ length: 5000 }, () => 0.01 * 10 ** (random() * 5));
  const sorted = latencies.toSorted((a, b) => a - b);
  const histogram = of(latencies);
  for (const share of [0.01, 0.5, 0.95, 0.99, 1]) {
    const exact = sorted[Math.ceil(share * sorted.length) - 1]!;
    const ratio = histogram.quantile(share)! / exact;
    expect(ratio).toBeGreaterThanOrEqual(1 - 1e-9);
    expect(ratio).toBeLessThanOrEqual(1.05 + 1e-9);
  }
});

test("takes what is nothing, and what is longer than an hour", () => {
  expect(of([]).quantile(0.95)).toBeNull();
  expect(of([0]).quantile(0.95)).toBe(0.001);
  expect(of([1e9]).quantile(0.95)).toBeGreaterThan(3_600_000);
});

test("forgets exactly what is taken away again", () => {
  const [old, kept] = [of([500, 600, 700]), of([1, 2, 3])];
  const both = of([]);
  both.merge(old);
  both.merge(kept);
  expect([both.count, both.quantile(1)! > 500]).toEqual([6, true]);
  both.subtract(old);
  expect([both.count, both.quantile(0.5), both.quantile(1)]).toEqual([
    3,
    kept.quantile(0.5),
    kept.quantile(1),
  ]);
});
