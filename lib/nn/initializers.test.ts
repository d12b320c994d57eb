/**
 * Initialisers against the formulas of Keras's documentation: bounds, mean and standard deviation of 40,000 draws.
 * The mean of n draws strays by σ/√n and their standard deviation by less than σ/√n, so 4/√n = 0.02 of σ is four
 * standard errors; the seed is fixed, so a test that passes stays so.
 */

import { InvalidModelError } from "../errors.ts";
import { RandomStream } from "../random/stream.ts";
import { initializerOf } from "./initializers.ts";

const COUNT = 40_000;
const FANS = { fanIn: 72, fanOut: 288 };

function draws(class_name: string, config: Record<string, unknown> = {}, seed = 1): Float32Array {
  const initialise = initializerOf({ class_name, config }, "layer 'dense'.kernel_initializer");
  return initialise([COUNT], FANS, RandomStream.named(seed, "init/dense/kernel"));
}

function moments(values: Float32Array) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  const most = values.reduce((best, v) => Math.max(best, Math.abs(v - mean)), 0);
  return { mean, deviation: Math.sqrt(variance), most };
}

const average = (FANS.fanIn + FANS.fanOut) / 2;
const uniform = (variance: number) => ({
  mean: 0,
  deviation: Math.sqrt(variance),
  most: Math.sqrt(3 * variance),
});
/** Cut at two standard deviations of the normal that it is drawn from, which is wider than what remains. */
const truncated = (variance: number) => ({
  mean: 0,
  deviation: Math.sqrt(variance),
  most: (2 * Math.sqrt(variance)) / 0.87962566,
});

describe("initialisers", () => {
  test.each([
    ["GlorotUniform", {}, uniform(1 / average)],
    ["GlorotNormal", {}, truncated(1 / average)],
    ["HeUniform", {}, uniform(2 / FANS.fanIn)],
    ["HeNormal", {}, truncated(2 / FANS.fanIn)],
    ["LecunUniform", {}, uniform(1 / FANS.fanIn)],
    ["LecunNormal", {}, truncated(1 / FANS.fanIn)],
    ["glorot_uniform", {}, uniform(1 / average)],
    ["uniform", {}, { mean: 0, deviation: 0.1 / Math.sqrt(12), most: 0.05 }],
    ["normal", {}, { mean: 0, deviation: 0.05, most: Number.POSITIVE_INFINITY }],
    ["RandomUniform", {}, { mean: 0, deviation: 0.1 / Math.sqrt(12), most: 0.05 }],
    ["RandomUniform", { minval: 1, maxval: 3 }, { mean: 2, deviation: 2 / Math.sqrt(12), most: 1 }],
    ["RandomNormal", { mean: 0.5, stddev: 2 }, { mean: 0.5, deviation: 2, most: Number.POSITIVE_INFINITY }],
    ["TruncatedNormal", { stddev: 2 }, { mean: 0, deviation: 2 * 0.87962566, most: 4 }],
    ["VarianceScaling", { scale: 3, mode: "fan_out", distribution: "uniform" }, uniform(3 / FANS.fanOut)],
    [
      "VarianceScaling",
      { distribution: "untruncated_normal" },
      { mean: 0, deviation: Math.sqrt(1 / FANS.fanIn), most: Number.POSITIVE_INFINITY },
    ],
  ])("%s %j has Keras's mean, deviation and bounds", (name, config, expected) => {
    const found = moments(draws(name, config));
    expect(Math.abs(found.mean - expected.mean)).toBeLessThan(0.02 * expected.deviation);
    expect(Math.abs(found.deviation / expected.deviation - 1)).toBeLessThan(0.02);
    // The mean is subtracted, so its error is allowed for.
    expect(found.most).toBeLessThanOrEqual(expected.most + 0.02 * expected.deviation);
    if (Number.isFinite(expected.most)) expect(found.most).toBeGreaterThan(0.95 * expected.most);
  });

  test.each([
    ["Zeros", {}, 0],
    ["Ones", {}, 1],
    ["one", {}, 1],
    ["zero", {}, 0],
    ["Constant", { value: -2.5 }, -2.5],
  ])("%s %j is constant", (name, config, value) => {
    expect(draws(name, config).every((v) => v === value)).toBe(true);
  });

  test("the same seed gives the same values, another seed others", () => {
    expect(draws("HeNormal")).toEqual(draws("HeNormal"));
    expect(draws("HeNormal", {}, 1)).not.toEqual(draws("HeNormal", {}, 2));
  });

  test("a seed of its own is accepted as Keras writes it, and refused when it would be misread", () => {
    expect(draws("HeNormal", { seed: null, input_axes: null, output_axes: null })).toEqual(draws("HeNormal"));
    expect(() => draws("HeNormal", { input_axes: [0] })).toThrow(InvalidModelError);
  });

  test("options out of range are refused", () => {
    expect(() => draws("RandomNormal", { stddev: -1 })).toThrow("stddev: received -1");
    expect(() => draws("VarianceScaling", { mode: "fan" })).toThrow(
      "expected one of fan_in, fan_out, fan_avg",
    );
  });
});

describe("initialisers of whole matrices", () => {
  const matrix = (class_name: string, shape: number[], config: Record<string, unknown> = {}, seed = 1) =>
    initializerOf({ class_name, config }, "layer 'dense'.kernel_initializer")(
      shape,
      FANS,
      RandomStream.named(seed, "init/dense/kernel"),
    );

  test.each([
    [[7, 7], 1],
    [[9, 4], 1.5],
    [[4, 9], 1],
    [[3, 3, 2, 5], 2],
    [[2, 1, 2, 30], 1],
    [[1, 6], 1],
  ])("Orthogonal %j with gain %d has orthogonal columns, or rows where they are fewer", (shape, gain) => {
    const values = matrix("Orthogonal", shape, { gain, seed: null });
    const columns = shape.at(-1)!;
    const rows = values.length / columns;
    const wide = rows < columns;
    const [count, size] = wide ? [rows, columns] : [columns, rows];
    const element = (vector: number, i: number) =>
      values[wide ? vector * columns + i : i * columns + vector]!;
    for (let a = 0; a < count; a++)
      for (let b = 0; b < count; b++) {
        let product = 0;
        for (let i = 0; i < size; i++) product += element(a, i) * element(b, i);
        expect(product).toBeCloseTo(a === b ? gain * gain : 0, 5);
      }
  });

  test("Orthogonal matrices are spread evenly: each element has mean nought and variance one by the size", () => {
    const size = 4;
    const sum = new Float64Array(size * size);
    const squares = new Float64Array(size * size);
    const n = 4000;
    for (let seed = 0; seed < n; seed++)
      matrix("orthogonal", [size, size], {}, seed).forEach((v, i) => {
        sum[i]! += v;
        squares[i]! += v * v;
      });
    // Elements have deviation 1/2, their squares less than 1/4: means of 4000 stray by 0.008 and 0.004.
    for (const total of sum) expect(Math.abs(total / n)).toBeLessThan(0.035);
    for (const total of squares) expect(Math.abs(total / n - 1 / size)).toBeLessThan(0.02);
  });

  test("Identity has its gain on the diagonal, of matrices that are not square too", () => {
    expect([...matrix("Identity", [2, 3], { gain: 2 })]).toEqual([2, 0, 0, 0, 2, 0]);
    expect([...matrix("IdentityInitializer", [3, 2])]).toEqual([1, 0, 0, 1, 0, 0]);
  });

  test("shapes that have no such matrix are refused", () => {
    expect(() => matrix("Identity", [3, 3, 3])).toThrow("the weight is [3,3,3], expected a matrix");
    expect(() => matrix("Orthogonal", [3])).toThrow("the weight is [3], expected at least two axes");
    expect(() => matrix("Orthogonal", [3])).toThrow(InvalidModelError);
  });
});
