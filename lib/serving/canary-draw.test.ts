import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { drawsCanary } from "./canary-draw.ts";

const REQUESTS = 10_000;
const canary = { model: "m", version: 2, weight: 0.1 };
const keys = Array.from({ length: REQUESTS }, (_, n) => `user-${n}`);
const never = () => {
  throw new Error("drawn at random");
};
/** Five standard deviations of a binomial: one run in two million is further off. */
const around = (weight: number, counted: number) =>
  Math.abs(counted - REQUESTS * weight) <= 5 * Math.sqrt(REQUESTS * weight * (1 - weight));

test.each([0.01, 0.1, 0.5, 0.9, 1])(
  "gives the canary %d of the requests, with keys and without",
  (weight) => {
    const random = randomStream(7);
    const drawn = keys.filter(() => drawsCanary({ ...canary, weight }, undefined, random)).length;
    expect([weight, around(weight, drawn)]).toEqual([weight, true]);
    const byKey = keys.filter((key) => drawsCanary({ ...canary, weight }, key, never)).length;
    expect([weight, around(weight, byKey)]).toEqual([weight, true]);
  },
);

test("draws the same for a key at any time, and keeps it in when the weight grows", () => {
  const drawnAt = (weight: number) =>
    keys.filter((key) => drawsCanary({ ...canary, weight }, key, never)).slice(0, 500);
  expect(drawnAt(0.1)).toEqual(drawnAt(0.1));
  const more = new Set(keys.filter((key) => drawsCanary({ ...canary, weight: 0.2 }, key, never)));
  expect(drawnAt(0.1).every((key) => more.has(key))).toBe(true);
});

test("draws anew for another model or another version", () => {
  const both = (other: object) =>
    keys.filter(
      (key) =>
        drawsCanary({ ...canary, weight: 0.5 }, key, never) &&
        drawsCanary({ ...canary, weight: 0.5, ...other }, key, never),
    ).length;
  expect(around(0.25, both({ version: 3 }))).toBe(true);
  expect(around(0.25, both({ model: "n" }))).toBe(true);
});

// Nodes of different releases may serve one canary together.
test("draws what it has always drawn", () => {
  const drawn = (weight: number) => drawsCanary({ model: "m", version: 2, weight }, "user-1", never);
  // sha256("m\n2\nuser-1") begins with these six bytes.
  const draw = 0xcebe26c5814e / 2 ** 48;
  expect([drawn(draw * 1.000001), drawn(draw)]).toEqual([true, false]);
});
