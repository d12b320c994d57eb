import type { Datatype } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { differenceOf } from "./answer-difference.ts";

const floats = (data: number[], shape = [data.length], name = "y"): Tensor => ({
  name,
  datatype: "FP32",
  shape,
  data: new Float32Array(data),
});
const compare = (a: Tensor, b: Tensor, tolerance = 0.01, classes = 0) =>
  differenceOf([a], [b], tolerance, classes);

test("measures the largest distance, within the tolerance and beyond", () => {
  expect(compare(floats([1, 2, 3]), floats([1, 2, 3]))).toEqual({
    same: true,
    largest: 0,
    otherClass: false,
  });
  const near = compare(floats([1, 2, 3]), floats([1, 2.0078125, 3]));
  expect(near).toEqual({ same: true, largest: 0.0078125, otherClass: false });
  expect(compare(floats([1, 2, 3]), floats([0.5, 2, 3]))).toMatchObject({ same: false, largest: 0.5 });
});

test("takes NaN for NaN, infinities for themselves and minus zero for zero", () => {
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  expect(compare(floats(odd), floats([...odd.slice(0, 3), -0]), 0).same).toBe(true);
  for (const [a, b] of [
    [Number.NaN, 1],
    [Number.POSITIVE_INFINITY, 1],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ] as const)
    expect(compare(floats([a]), floats([b]))).toMatchObject({ same: false, largest: 0 });
});

test("compares half precision by value", () => {
  const half = (datatype: Datatype, bits: number[]): Tensor => ({
    name: "y",
    datatype,
    shape: [bits.length],
    data: new Uint16Array(bits),
  });
  // 1, 1 + 2^-10, -2, 65504, 2^-24, infinity, NaN
  const halves = [0x3c00, 0x3c01, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x7e00];
  expect(compare(half("FP16", halves), half("FP16", halves), 0).same).toBe(true);
  expect(compare(half("FP16", [0x3c00]), half("FP16", [0x3c01]), 0).largest).toBe(2 ** -10);
  expect(compare(half("FP16", [0xc000]), half("FP16", [0x4000]), 0).largest).toBe(4);
  expect(compare(half("FP16", [0x0001]), half("FP16", [0x0000]), 0).largest).toBe(2 ** -24);
  expect(compare(half("BF16", [0x3f80]), half("BF16", [0x4000]), 0).largest).toBe(1);
});

test("compares everything else exactly", () => {
  const texts = (data: string[]): Tensor => ({ name: "y", datatype: "BYTES", shape: [data.length], data });
  expect(compare(texts(["a", "b"]), texts(["a", "b"])).same).toBe(true);
  expect(compare(texts(["a", "b"]), texts(["a", "c"])).same).toBe(false);
  const long = (n: bigint): Tensor => ({
    name: "y",
    datatype: "INT64",
    shape: [1],
    data: new BigInt64Array([n]),
  });
  expect(compare(long(2n ** 53n), long(2n ** 53n + 1n)).same).toBe(false);
});

test("finds outputs that the other lacks, or has in another shape or type", () => {
  expect(compare(floats([1]), floats([1], [1], "z")).same).toBe(false);
  expect(compare(floats([1, 2]), floats([1, 2], [1, 2])).same).toBe(false);
  expect(differenceOf([floats([1])], [floats([1]), floats([1], [1], "z")], 1, 0).same).toBe(false);
  const doubles: Tensor = { name: "y", datatype: "FP64", shape: [1], data: new Float64Array([1]) };
  expect(compare(floats([1]), doubles).same).toBe(false);
});

test("notices another class in any row, however small the distance", () => {
  const scores = floats([0.4, 0.6, 0.501, 0.499], [2, 2]);
  const others = floats([0.4, 0.6, 0.499, 0.501], [2, 2]);
  expect(compare(scores, others, 0.1, 2)).toMatchObject({ same: true, otherClass: true });
  expect(compare(scores, others, 0.1, 0)).toMatchObject({ otherClass: false });
  expect(compare(scores, scores, 0.1, 2)).toMatchObject({ otherClass: false });
});
