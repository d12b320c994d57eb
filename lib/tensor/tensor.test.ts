/** Datatypes, and the checks every tensor passes on its way in. */

import { InvalidInputError } from "../errors.ts";
import { allocate, DATATYPES, elementBytes, holds, isDatatype } from "./datatype.ts";
import { assertMatches, assertTensor, elementCount, formatShape, type Tensor } from "./tensor.ts";

describe("datatypes", () => {
  test.each(DATATYPES)("%s allocates zeroed elements of the array it lives in", (datatype) => {
    const data = allocate(datatype, 3);
    expect(data).toHaveLength(3);
    expect(holds(datatype, data)).toBe(true);
    if (datatype === "BYTES") {
      expect(data).toEqual(["", "", ""]);
      expect(() => elementBytes(datatype)).toThrow(RangeError);
    } else {
      expect([...(data as Uint8Array)].every((value) => Number(value) === 0)).toBe(true);
      expect(elementBytes(datatype)).toBe((data as Uint8Array).byteLength / 3);
    }
  });

  test("an array of another type is not held", () => {
    expect(holds("FP32", new Float64Array(1))).toBe(false);
    expect(holds("INT64", [1n])).toBe(false);
    expect(holds("BYTES", ["a", 1])).toBe(false);
    expect(holds("FP16", new Float32Array(1))).toBe(false);
  });

  test("only known names are datatypes", () => {
    expect(DATATYPES.every(isDatatype)).toBe(true);
    for (const value of ["fp32", "FLOAT", "", undefined, 7, "constructor"])
      expect(isDatatype(value)).toBe(false);
  });
});

test("shapes are counted and printed", () => {
  expect([[], [3], [2, 0], [2, 3, 4]].map(elementCount)).toEqual([1, 3, 0, 24]);
  expect(formatShape([-1, 28, 28])).toBe("[-1,28,28]");
});

describe("tensors that come in", () => {
  const good: Tensor = { name: "x", datatype: "FP32", shape: [2, 2], data: new Float32Array(4) };

  test("well-formed ones pass, scalars and empty ones too", () => {
    expect(() => assertTensor(good, "input")).not.toThrow();
    expect(() => assertTensor({ ...good, shape: [], data: new Float32Array(1) }, "input")).not.toThrow();
    expect(() => assertTensor({ ...good, shape: [0, 5], data: new Float32Array(0) }, "input")).not.toThrow();
  });

  test.each<[string, unknown, string]>([
    ["nothing", null, "Invalid inputs[0]: received null, expected a tensor {name, datatype, shape, data}"],
    ["a number", 7, "Invalid inputs[0]: received 7"],
    ["no name", { ...good, name: "" }, "inputs[0].name"],
    [
      "a name that is no text",
      { ...good, name: 1 },
      "Invalid inputs[0].name: received 1, expected a non-empty string",
    ],
    ["an unknown datatype", { ...good, datatype: "FP8" }, "Invalid inputs[0].datatype: received FP8"],
    [
      "a negative size",
      { ...good, shape: [-1, 4] },
      "Invalid inputs[0].shape: received [-1,4], expected an array of non-negative integers",
    ],
    ["half a size", { ...good, shape: [0.5] }, "inputs[0].shape: received [0.5]"],
    ["no shape", { ...good, shape: undefined }, "inputs[0].shape: received undefined"],
    [
      "another array type",
      { ...good, data: new Float64Array(4) },
      "inputs[0].data: received Float64Array, expected the array type of FP32",
    ],
    ["a plain array", { ...good, data: [1, 2, 3, 4] }, "inputs[0].data: received Array"],
    ["no data", { ...good, data: undefined }, "inputs[0].data: received undefined"],
    [
      "too few elements",
      { ...good, data: new Float32Array(3) },
      "inputs[0].data: received 3 elements, expected 4 for shape [2,2]",
    ],
  ])("%s is refused by field", (_, tensor, message) => {
    expect(() => assertTensor(tensor, "inputs[0]")).toThrow(InvalidInputError);
    expect(() => assertTensor(tensor, "inputs[0]")).toThrow(message);
  });

  test("must match what the model declares, but for open sizes", () => {
    const spec = { name: "x", datatype: "FP32" as const, shape: [-1, 2] };
    expect(() => assertMatches(good, spec)).not.toThrow();
    expect(() => assertMatches(good, { ...spec, datatype: "UINT8" })).toThrow(
      'Invalid inputs["x"].datatype: received FP32, expected UINT8',
    );
    expect(() => assertMatches(good, { ...spec, shape: [-1, 3] })).toThrow(
      'Invalid inputs["x"].shape: received [2,2], expected [-1,3] (-1 is any size)',
    );
    expect(() => assertMatches(good, { ...spec, shape: [-1] })).toThrow("received [2,2], expected [-1]");
  });
});
