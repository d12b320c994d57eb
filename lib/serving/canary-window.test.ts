import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { CanaryWindow } from "./canary-window.ts";

let clock: FakeClock;
let window: CanaryWindow;

beforeEach(() => {
  clock = new FakeClock();
  window = new CanaryWindow({ clock, minRequests: 10, windowMs: 60_000, sliceMs: 10_000 });
});
const answer = (side: "canary" | "production", times: number, tookMs: number) => {
  for (let n = 0; n < times; n++) window.answered(side, tookMs);
};

test("counts both sides apart", () => {
  answer("canary", 3, 5);
  window.failed("canary");
  answer("production", 7, 1);
  const canary = window.read("canary");
  expect(canary).toMatchObject({ requests: 4, failures: 1 });
  expect(canary.p95Ms! / 5).toBeCloseTo(1, 1);
  expect(window.read("production")).toMatchObject({ requests: 7, failures: 0 });
});

test("says that there is no latency where nothing was answered", () => {
  window.failed("canary");
  expect(window.read("canary")).toEqual({ requests: 1, failures: 1, p95Ms: null });
  expect(window.read("production")).toEqual({ requests: 0, failures: 0, p95Ms: null });
});

test("forgets what is older than the window, of both sides at once", () => {
  answer("canary", 20, 100);
  answer("production", 20, 100);
  clock.advance(30_000);
  answer("canary", 15, 1);
  answer("production", 5, 1);
  clock.advance(29_000);
  expect(window.read("canary").requests).toBe(35);
  clock.advance(40_000);
  answer("production", 1, 1);
  expect(window.read("canary")).toMatchObject({ requests: 15 });
  expect(window.read("canary").p95Ms).toBeLessThan(2);
  expect(window.read("production").requests).toBe(6);
});

test("reaches further back where too few requests would be left to judge by", () => {
  for (let minute = 0; minute < 30; minute++) {
    answer("canary", 1, 1);
    answer("production", 100, 1);
    clock.advance(60_000);
  }
  const { requests } = window.read("canary");
  expect(requests).toBeGreaterThanOrEqual(10);
  expect(requests).toBeLessThanOrEqual(11);
  expect(window.read("production").requests).toBe(requests * 100);
});

test("keeps its counts when it has merged what is old", () => {
  const patient = new CanaryWindow({ clock, minRequests: 1000, windowMs: 60_000, sliceMs: 10_000 });
  for (let n = 0; n < 500; n++) {
    patient.answered("canary", n < 490 ? 1 : 50);
    patient.failed("production");
    clock.advance(10_000);
  }
  expect(patient.read("canary")).toMatchObject({ requests: 500, failures: 0 });
  expect(patient.read("canary").p95Ms).toBeLessThan(2);
  expect(patient.read("production")).toEqual({ requests: 500, failures: 500, p95Ms: null });
});
