import type { VersionTally } from "../protocol/rollout.ts";
import { judgeCanary } from "./canary-verdict.ts";

const tally = (requests: number, failures = 0, p95Ms: number | null = 10): VersionTally => ({
  requests,
  failures,
  p95Ms,
});
const bounds = { errorRate: 0.05, latencyRatio: 2, minRequests: 50 };
const production = tally(500, 0, 10);

test("judges nothing before the requests it needs", () => {
  expect(judgeCanary(tally(49, 49, 1000), production, bounds)).toBeUndefined();
});

test("is content at the bounds themselves", () => {
  expect(judgeCanary(tally(100, 5, 20), production, bounds)).toBeUndefined();
});

test("finds too many failures, and gives the figures", () => {
  expect(judgeCanary(tally(50, 3), tally(400, 2), bounds)).toEqual({
    cause: "errorRate",
    reason:
      "3 of 50 requests (6%) failed, more than the 5% allowed; of production's, 2 of 400 requests (0.5%)",
  });
});

test("does not blame the canary for what production suffers too", () => {
  expect(judgeCanary(tally(100, 40), tally(400, 160), bounds)).toBeUndefined();
  expect(judgeCanary(tally(100, 41), tally(400, 160), bounds)?.cause).toBe("errorRate");
});

test("judges failures where production has no requests at all", () => {
  expect(judgeCanary(tally(100, 6), tally(0, 0, null), bounds)?.cause).toBe("errorRate");
});

test("finds a latency that is too long, and gives the figures", () => {
  expect(judgeCanary(tally(60, 0, 34.56), tally(500, 0, 12), bounds)).toEqual({
    cause: "latency",
    reason:
      "95% of 60 requests took up to 34.6 ms, 2.88 times production's 12 ms, more than the 2 times allowed",
  });
});

test("compares latencies only where both have answered enough", () => {
  expect(judgeCanary(tally(60, 0, 100), tally(49, 0, 1), bounds)).toBeUndefined();
  expect(judgeCanary(tally(60, 11, 100), tally(500, 400, 1), bounds)).toBeUndefined();
  expect(judgeCanary(tally(60, 0, 100), tally(0, 0, null), bounds)).toBeUndefined();
});

test("judges only by the bounds that are set", () => {
  expect(judgeCanary(tally(100, 100, 1000), production, { minRequests: 50 })).toBeUndefined();
  expect(judgeCanary(tally(100, 1, 1000), production, { minRequests: 50, errorRate: 0 })?.cause).toBe(
    "errorRate",
  );
});
