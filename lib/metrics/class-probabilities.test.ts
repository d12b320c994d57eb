/** Outputs as probabilities per class, against softmax and sigmoid worked out in double precision. */

import { classProbabilities } from "./class-probabilities.ts";

/** Values in [0, 1] are rounded to float32: 6e-8 at most. */
const DIGITS = 6;

function expectClose(received: Float32Array, expected: readonly number[]) {
  expect(received).toHaveLength(expected.length);
  for (const [i, value] of expected.entries()) expect(received[i]).toBeCloseTo(value, DIGITS);
}

describe("class probabilities", () => {
  test("of several outputs that are probabilities are those", () => {
    const given = Float32Array.of(0.2, 0.8, 0.5, 0.5);
    expect(classProbabilities(given, 2, "probabilities")).toBe(given);
  });

  test("of logits are their softmax, however large they are", () => {
    const given = Float32Array.of(1, 2, 3, 1e30, -1e30, 0);
    const sum = Math.exp(1) + Math.exp(2) + Math.exp(3);
    expectClose(classProbabilities(given, 3, "logits"), [
      ...[1, 2, 3].map((x) => Math.exp(x) / sum),
      ...[1, 0, 0],
    ]);
  });

  test("of one output are 1 - p and p", () => {
    expectClose(classProbabilities(Float32Array.of(0.25, 1), 1, "probabilities"), [0.75, 0.25, 0, 1]);
  });

  test("of one output out of range are nought and one", () => {
    expectClose(classProbabilities(Float32Array.of(-3, 1.5), 1, "probabilities"), [1, 0, 0, 1]);
  });

  test("of one logit are its sigmoid's", () => {
    const p = 1 / (1 + Math.exp(-2));
    expectClose(classProbabilities(Float32Array.of(2, -1e4, 1e4), 1, "logits"), [1 - p, p, 1, 0, 0, 1]);
  });
});
