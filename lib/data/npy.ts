/**
 * NumPy's array files (numpy.lib.format, versions 1.0 to 3.0): magic, version, the length of a header that is a Python
 * dictionary, then row-major data. Little-endian numbers in C order are read; Fortran order, big-endian, complex,
 * text, object and structured arrays are refused by name.
 */

import { DatasetCorruptError } from "../errors.ts";
import { type Datatype, elementBytes, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { ArrayHeader } from "./array-format.ts";

/** As much as a header may take; NumPy's own limit is 10,000. */
export const NPY_HEADER_BYTES = 16_384;

const MAGIC = "\x93NUMPY";
/** The data begins at a multiple of it. */
const ALIGNMENT = 64;
const DESCRIPTIONS = {
  "|b1": "BOOL",
  "|u1": "UINT8",
  "|i1": "INT8",
  "<u2": "UINT16",
  "<i2": "INT16",
  "<i4": "INT32",
  "<i8": "INT64",
  "<f4": "FP32",
  "<f8": "FP64",
} as const satisfies Record<string, Datatype>;

const HEADER =
  /^\{\s*'descr':\s*'(?<descr>[^']*)',\s*'fortran_order':\s*(?<fortran>True|False),\s*'shape':\s*\((?<shape>[\d, ]*)\),?\s*\}\s*$/;

/** An array to be written: `data` is row-major, of the datatype's own array type. */
export type NpyArray = { datatype: Datatype; shape: number[]; data: NumericArray };

/** Reads what a file begins with. @throws {DatasetCorruptError} naming the file, what it holds and what was expected */
export function parseNpyHeader(file: string, start: Uint8Array): ArrayHeader {
  const fail = (received: string, expected: string): never => {
    throw new DatasetCorruptError(file, { received, expected });
  };
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  if (bytes.length < 10 || bytes.toString("latin1", 0, 6) !== MAGIC)
    return fail(`${bytes.length} bytes without its magic number`, "a NumPy file, beginning with \\x93NUMPY");
  const [major, minor] = [bytes.readUInt8(6), bytes.readUInt8(7)];
  if (major < 1 || major > 3 || minor !== 0) fail(`format version ${major}.${minor}`, "1.0, 2.0 or 3.0");
  const begin = major === 1 ? 10 : 12;
  const dataOffset =
    begin + (major === 1 ? bytes.readUInt16LE(8) : bytes.length < 12 ? 0 : bytes.readUInt32LE(8));
  if (dataOffset > NPY_HEADER_BYTES)
    fail(`a header of ${dataOffset} bytes`, `at most ${NPY_HEADER_BYTES} of them`);
  if (dataOffset > bytes.length) fail(`${bytes.length} bytes`, `a header of ${dataOffset} bytes`);
  const text = bytes.toString(major === 3 ? "utf8" : "latin1", begin, dataOffset).trim();
  const { descr, fortran, shape } =
    HEADER.exec(text)?.groups ??
    fail(
      `header ${text.slice(0, 200)}`,
      "{'descr': '<f4', 'fortran_order': False, 'shape': (…), } with one of the types " +
        Object.keys(DESCRIPTIONS).join(" "),
    );
  if (!Object.hasOwn(DESCRIPTIONS, descr!))
    fail(`descr '${descr}'`, `little-endian numbers, one of ${Object.keys(DESCRIPTIONS).join(" ")}`);
  if (fortran === "True") fail("fortran_order True", "C order; write numpy.ascontiguousarray(array)");
  const sizes = shape!.split(",").map((size) => size.trim());
  // (3,) and () end in an empty part.
  if (sizes.at(-1) === "") sizes.pop();
  if (!sizes.every((size) => /^\d+$/.test(size))) fail(`shape (${shape})`, "sizes separated by commas");
  return {
    datatype: DESCRIPTIONS[descr as keyof typeof DESCRIPTIONS],
    shape: sizes.map(Number),
    dataOffset,
  };
}

/** What a file of such an array begins with, as NumPy writes it (version 1.0). @throws {RangeError} */
export function npyHeader(datatype: Datatype, shape: readonly number[]): Uint8Array {
  const descr = Object.entries(DESCRIPTIONS).find(([, type]) => type === datatype)?.[0];
  if (descr === undefined) throw new RangeError(`${datatype} has no NumPy file of ours`);
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const length = Math.ceil((10 + text.length + 1) / ALIGNMENT) * ALIGNMENT;
  const bytes = Buffer.alloc(length, " ");
  bytes.write(MAGIC, "latin1");
  bytes.writeUInt16LE(1, 6);
  bytes.writeUInt16LE(length - 10, 8);
  bytes.write(text, 10, "latin1");
  bytes.write("\n", length - 1);
  return bytes;
}

/** A whole file. @throws {RangeError} when the data does not have the shape's elements */
export function encodeNpy({ datatype, shape, data }: NpyArray): Uint8Array {
  if (data.byteLength !== elementCount(shape) * elementBytes(datatype))
    throw new RangeError(`${data.length} elements are not [${shape.join(",")}] of ${datatype}`);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat([npyHeader(datatype, shape), bytes]);
}
