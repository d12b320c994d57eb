import type { ModelSignature } from "../protocol/models.ts";
import type { Datatype } from "../tensor/datatype.ts";
import { warmupFeeds } from "./warmup-feeds.ts";

const signature: ModelSignature = {
  inputs: [
    { name: "x", datatype: "FP32", shape: [-1, 2] },
    { name: "ids", datatype: "INT64", shape: [-1, -1] },
    { name: "mask", datatype: "BOOL", shape: [1] },
    { name: "text", datatype: "BYTES", shape: [-1] },
  ],
  outputs: [],
};
const one = (datatype: Datatype): ModelSignature => ({
  inputs: [{ name: "x", datatype, shape: [-1] }],
  outputs: [],
});

test("fills what is left out with zeros, false and empty strings", () => {
  expect(warmupFeeds({ rows: 2 }, signature)).toEqual([
    { name: "x", datatype: "FP32", shape: [2, 2], data: new Float32Array(4) },
    { name: "ids", datatype: "INT64", shape: [2, 1], data: new BigInt64Array(2) },
    { name: "mask", datatype: "BOOL", shape: [1], data: new Uint8Array(1) },
    { name: "text", datatype: "BYTES", shape: [2], data: ["", ""] },
  ]);
});

test("takes the values and shapes that are given", () => {
  const inputs = {
    x: { shape: [1, 2], values: [0.1, -3e38] },
    ids: { shape: [1, 3], values: [1, -2, 2 ** 53 - 1] },
    mask: { values: [true] },
    text: { values: ["straße"] },
  };
  expect(warmupFeeds({ inputs }, signature).map(({ shape, data }) => [shape, data])).toEqual([
    [[1, 2], new Float32Array([0.1, -3e38])],
    [[1, 3], new BigInt64Array([1n, -2n, 2n ** 53n - 1n])],
    [[1], new Uint8Array([1])],
    [[1], ["straße"]],
  ]);
});

test.each<[Datatype, (value: unknown) => boolean]>([
  ["FP32", (value) => (value as number) >= 0 && (value as number) < 1],
  ["FP64", (value) => (value as number) >= 0 && (value as number) < 1],
  ["FP16", (value) => (value as number) < 0x3c00],
  ["UINT8", (value) => value === 0 || value === 1],
  ["INT64", (value) => value === 0n || value === 1n],
  ["BOOL", (value) => value === 0 || value === 1],
  ["BYTES", (value) => /^[0-9a-f]+$/.test(value as string)],
])("draws %s in the range said, the same each time", (datatype, accepts) => {
  const draw = () => warmupFeeds({ rows: 64, inputs: { x: { values: "random" } } }, one(datatype))[0]!.data;
  const values = [...(draw() as Iterable<unknown>)];
  expect(values.every(accepts)).toBe(true);
  expect(new Set(values).size).toBeGreaterThan(1);
  expect(draw()).toEqual(draw());
});

test.each<[string, Parameters<typeof warmupFeeds>[0], ModelSignature]>([
  ['has no input "y"', { inputs: { y: { values: "zeros" } } }, signature],
  ["received [1,3], expected [-1,2]", { inputs: { x: { shape: [1, 3], values: "zeros" } } }, signature],
  ["3 values for 2 elements", { inputs: { x: { values: [1, 2, 3] } } }, signature],
  ["FP32, which does not hold 1e+39", { inputs: { x: { values: [1, 1e39] } } }, signature],
  ['FP32, which does not hold "1"', { inputs: { x: { values: ["1", "2"] } } }, signature],
  ["UINT8, which does not hold 256", { inputs: { x: { values: [256] } } }, one("UINT8")],
  ["UINT64, which does not hold -1", { inputs: { x: { values: [-1] } } }, one("UINT64")],
  ["INT64, which does not hold 0.5", { inputs: { x: { values: [0.5] } } }, one("INT64")],
  ["BOOL, which does not hold 2", { inputs: { x: { values: [2] } } }, one("BOOL")],
  ["FP16, whose values are not listed", { inputs: { x: { values: [1] } } }, one("FP16")],
])("says: %s", (message, request, of) => {
  expect(() => warmupFeeds(request, of)).toThrow(message);
});
