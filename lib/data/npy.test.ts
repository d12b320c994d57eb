/** NumPy files: those of NumPy itself, and what is refused of them. */

import arrays from "../../test/fixtures/numpy/arrays.json" with { type: "json" };
import { DatasetCorruptError } from "../errors.ts";
import { allocate, elementBytes, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { encodeNpy, NPY_HEADER_BYTES, parseNpyHeader } from "./npy.ts";

const bytesOf = (file: string) => Buffer.from(file, "base64");

function read(bytes: Buffer) {
  const { datatype, shape, dataOffset } = parseNpyHeader("f.npy", bytes);
  const data = allocate(datatype, elementCount(shape)) as NumericArray;
  expect(bytes.length).toBe(dataOffset + elementCount(shape) * elementBytes(datatype));
  bytes.copy(new Uint8Array(data.buffer), 0, dataOffset);
  return { datatype, shape, data };
}

/** The received and expected of the error that reading such a file meets. */
function fault(bytes: Uint8Array): { file: string; received: string; expected: string } {
  try {
    parseNpyHeader("f.npy", bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(DatasetCorruptError);
    return (error as DatasetCorruptError).data as ReturnType<typeof fault>;
  }
  throw new Error("nothing was thrown");
}

/** A file of version 1.0 with any header text. */
function withHeader(text: string, version = [1, 0]): Buffer {
  const head = Buffer.from(`\x93NUMPY${String.fromCharCode(...version)}\0\0`, "latin1");
  head.writeUInt16LE(text.length, 8);
  return Buffer.concat([head, Buffer.from(text)]);
}

describe("a NumPy file", () => {
  test.each(arrays.read)("of $name is read as NumPy wrote it, and written the same", (fixture) => {
    const array = read(bytesOf(fixture.file));
    expect(array.shape).toEqual(fixture.shape);
    const shown = Array.from(array.data as Float64Array, (value) => Number(value));
    const expected = fixture.values.map((value) => Number({ True: 1, False: 0 }[value] ?? value));
    expect(shown).toEqual(expected);
    if (fixture.version === 1) expect(Buffer.from(encodeNpy(array))).toEqual(bytesOf(fixture.file));
  });

  test("of 64-bit integers keeps every digit", () => {
    const fixture = arrays.read.find(({ name }) => name === "i8")!;
    expect(Array.from(read(bytesOf(fixture.file)).data, String)).toEqual(fixture.values);
  });

  test.each(arrays.refused)("that is $name is refused with what it holds", ({ file, received }) => {
    const error = fault(bytesOf(file));
    expect(error.file).toBe("f.npy");
    expect(error.received).toContain(received);
  });

  test.each<[string, Uint8Array, string, string]>([
    ["empty", Buffer.alloc(0), "0 bytes without", "beginning with \\x93NUMPY"],
    ["text", Buffer.from("1,2,3,4,5,6,7,8,9"), "17 bytes without", "NumPy file"],
    ["of a later version", withHeader("{}", [4, 0]), "format version 4.0", "1.0, 2.0 or 3.0"],
    ["of a version between", withHeader("{}", [1, 1]), "format version 1.1", "1.0, 2.0 or 3.0"],
    ["cut within its header", withHeader("{'descr': '<f4'").subarray(0, 20), "20 bytes", "header of 25"],
    [
      "without a shape",
      withHeader("{'descr': '<f4', 'fortran_order': False, }"),
      "header {'descr'",
      "'shape'",
    ],
    [
      "of a shape with a gap",
      withHeader("{'descr': '<f4', 'fortran_order': False, 'shape': (3,,4), }"),
      "shape (3,,4)",
      "separated by commas",
    ],
    [
      "of elements called as a method of every object",
      withHeader("{'descr': 'constructor', 'fortran_order': False, 'shape': (3,), }"),
      "descr 'constructor'",
      "little-endian numbers",
    ],
    [
      "of a header beyond any",
      withHeader(" ".repeat(NPY_HEADER_BYTES)),
      `a header of ${NPY_HEADER_BYTES + 10} bytes`,
      `at most ${NPY_HEADER_BYTES}`,
    ],
  ])("%s is refused", (_, bytes, received, expected) => {
    const error = fault(bytes);
    expect(error.received).toContain(received);
    expect(error.expected).toContain(expected);
  });
});

test("An array that does not have its shape's elements, or has no such file, is not written", () => {
  const short = { datatype: "FP32" as const, shape: [3], data: new Float32Array(2) };
  expect(() => encodeNpy(short)).toThrow("2 elements are not [3] of FP32");
  expect(() => encodeNpy({ datatype: "UINT64", shape: [1], data: new BigUint64Array(1) })).toThrow(
    RangeError,
  );
});
