import { parseExactIntegers, readTensorData } from "./tensor-data.ts";

const read = (value: unknown, shape: number[], datatype: Parameters<typeof readTensorData>[1] = "FP32") =>
  readTensorData(value, datatype, shape, "data");

describe("readTensorData", () => {
  test("reads flat and nested data to the same row-major array", () => {
    const expected = new Float32Array([1, 2, 3, 4, 5, 6]);
    expect(read([1, 2, 3, 4, 5, 6], [2, 3])).toEqual(expected);
    expect(
      read(
        [
          [1, 2, 3],
          [4, 5, 6],
        ],
        [2, 3],
      ),
    ).toEqual(expected);
    expect(
      read(
        [
          [[1], [2], [3]],
          [[4], [5], [6]],
        ],
        [2, 3, 1],
      ),
    ).toEqual(expected);
  });

  test("reads a shape without elements, and a single element without axes", () => {
    expect(read([], [0, 3])).toEqual(new Float32Array(0));
    expect(read([7], [])).toEqual(new Float32Array([7]));
  });

  test.each([
    ["too few values", [1, 2], [3], "Invalid data: received 2 elements, expected 3 elements for shape [3]"],
    [
      "too many rows",
      [[1], [2], [3]],
      [2, 1],
      "Invalid data: received an array of 3 elements, expected an array of 2, axis 0 of shape [2,1]",
    ],
    [
      "a ragged row",
      [[1, 2], [3]],
      [2, 2],
      "Invalid data[1]: received an array of 1 element, expected an array of 2, axis 1 of shape [2,2]",
    ],
    [
      "a number among rows",
      [[1, 2], 3],
      [2, 2],
      "Invalid data[1]: received 3, expected an array of 2, axis 1 of shape [2,2]",
    ],
    [
      "nesting that is too deep",
      [[1, [2]]],
      [1, 2],
      "Invalid data[0][1]: received an array of 1 element, expected a number that fits FP32",
    ],
    ["null", [1, null], [2], "Invalid data[1]: received null, expected a number that fits FP32"],
    ["a string", [["1", 2]], [1, 2], 'Invalid data[0][0]: received "1", expected a number that fits FP32'],
    ["no array", { 0: 1 }, [1], "Invalid data: received an object, expected an array"],
    ["nothing", undefined, [1], "Invalid data: received nothing, expected an array"],
    [
      "a number beyond float32",
      [1e39],
      [1],
      "Invalid data[0]: received 1e+39, expected a number that fits FP32",
    ],
  ])("refuses %s and names it", (_, value, shape, message) => {
    expect(() => read(value, shape)).toThrow(message);
  });

  test("refuses a shape larger than its data without allocating it", () => {
    expect(() => read([1], [2 ** 40])).toThrow("received 1 elements");
    expect(() => read([[1]], [1, 2 ** 40])).toThrow("data[0]");
  });

  test("checks the range of every integer datatype", () => {
    const ranges = {
      UINT8: [0, 255],
      INT8: [-128, 127],
      UINT16: [0, 65535],
      INT16: [-32768, 32767],
    } as const;
    for (const [datatype, [min, max]] of Object.entries(ranges) as [
      keyof typeof ranges,
      [number, number],
    ][]) {
      expect([...(read([min, max], [2], datatype) as Uint8Array)]).toEqual([min, max]);
      for (const bad of [min - 1, max + 1, 0.5])
        expect(() => read([bad], [1], datatype)).toThrow(`an integer from ${min} to ${max}`);
    }
    expect(() => read([2 ** 32], [1], "UINT32")).toThrow("4294967295");
    expect(() => read([-(2 ** 31) - 1], [1], "INT32")).toThrow("-2147483648");
  });

  test("keeps 64-bit integers exact, from numbers and from bigints", () => {
    const { data } = parseExactIntegers('{"data":[1,9223372036854775807,-9223372036854775808]}') as {
      data: unknown;
    };
    expect(read(data, [3], "INT64")).toEqual(new BigInt64Array([1n, 2n ** 63n - 1n, -(2n ** 63n)]));
    expect(() => read([2 ** 60], [1], "INT64")).toThrow("written in digits");
    expect(() => read([2n ** 63n], [1], "INT64")).toThrow("Invalid data[0]: received 9223372036854775808");
    expect(() => read([-1], [1], "UINT64")).toThrow("Invalid data[0]");
  });

  test("keeps long integers exact wherever they stand, and leaves strings alone", () => {
    const strings = ["a,1234567890123456,b", '"[1234567890123456]"', "#long:5", "1234567890123456"];
    for (const text of [[], ...strings.map((string) => [string]), strings]) {
      const strung = JSON.stringify(text);
      const exact = parseExactIntegers(
        `{"__proto__":[-1234567890123456],"a":[ 9007199254740993 ,12],"f":[0.12345678901234567,1e3],"s":${strung}}`,
      );
      expect(Object.entries(exact as object)).toEqual([
        ["__proto__", [-1234567890123456n]],
        ["a", [9007199254740993n, 12]],
        ["f", [Number("0.12345678901234567"), 1000]],
        ["s", text],
      ]);
    }
  });

  test("reads booleans and strings, and refuses what only looks like them", () => {
    expect(read([true, 0, 1, false], [4], "BOOL")).toEqual(new Uint8Array([1, 0, 1, 0]));
    expect(() => read(["true"], [1], "BOOL")).toThrow("expected true or false");
    expect(read(["a", ""], [2], "BYTES")).toEqual(["a", ""]);
    expect(() => read([1], [1], "BYTES")).toThrow("expected a string");
  });

  test.each(["FP16", "BF16"] as const)("refuses %s, which has no JSON form", (datatype) => {
    expect(() => read([1], [1], datatype)).toThrow(`received ${datatype} as JSON`);
  });
});
