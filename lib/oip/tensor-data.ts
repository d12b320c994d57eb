/**
 * JSON numbers to typed arrays: the `data` of an Open Inference Protocol tensor, row-major, flat or nested as the
 * shape says. Refuses ragged arrays, wrong lengths, nulls and values that the datatype cannot hold, naming the
 * index. FP16 and BF16 have no JSON form in the protocol and are refused, as Triton does.
 */

import { randomUUID } from "node:crypto";
import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import { NumberRow } from "../http/number-rows.ts";
import { allocate, type Datatype, type NumericArray, type TensorData } from "../tensor/datatype.ts";
import { allocateShared } from "../tensor/slab.ts";
import { elementCount, formatShape } from "../tensor/tensor.ts";

/** Copies one innermost row into `out` at `offset`; gives the index of the first bad element, or -1. */
type FillRow = (row: readonly unknown[], out: TensorData, offset: number) => number;

/** The same of numbers that were cut out of the JSON: all finite. */
type FillNumbers = (row: Float64Array, out: TensorData, offset: number) => number;

type ElementReader = { fill: FillRow; fillNumbers?: FillNumbers; expected: string };

/** Values that round to a finite float32: half a unit above the largest one and beyond overflow. */
const MAX_FP32 = 2 ** 128 - 2 ** 103;

const floats = (limit: number, expected: string): ElementReader => ({
  expected,
  fill(row, out, offset) {
    const numbers = out as Float32Array | Float64Array;
    for (let i = 0; i < row.length; i++) {
      const value = row[i];
      if (typeof value !== "number" || !(value < limit && value > -limit)) return i;
      numbers[offset + i] = value;
    }
    return -1;
  },
  fillNumbers(row, out, offset) {
    if (limit !== Number.POSITIVE_INFINITY)
      for (let i = 0; i < row.length; i++) if (!(row[i]! < limit && row[i]! > -limit)) return i;
    (out as Float32Array | Float64Array).set(row, offset);
    return -1;
  },
});

const integers = (min: number, max: number): ElementReader => ({
  expected: `an integer from ${min} to ${max}`,
  fill(row, out, offset) {
    const numbers = out as Exclude<NumericArray, BigInt64Array | BigUint64Array>;
    for (let i = 0; i < row.length; i++) {
      const value = row[i];
      if (!Number.isInteger(value)) return i;
      const number = value as number;
      if (number < min || number > max) return i;
      numbers[offset + i] = number;
    }
    return -1;
  },
  fillNumbers(row, out, offset) {
    const numbers = out as Exclude<NumericArray, BigInt64Array | BigUint64Array>;
    for (let i = 0; i < row.length; i++) {
      const number = row[i]!;
      if (!(number >= min && number <= max) || number !== Math.floor(number)) return i;
      numbers[offset + i] = number;
    }
    return -1;
  },
});

/** Safe integers as numbers, larger ones as the bigints of `parseExactIntegers`. */
const bigIntegers = (min: bigint, max: bigint): ElementReader => ({
  expected: `an integer from ${min} to ${max}, written in digits`,
  fill(row, out, offset) {
    const numbers = out as BigInt64Array | BigUint64Array;
    for (let i = 0; i < row.length; i++) {
      const value = row[i];
      if (typeof value !== "bigint" && !Number.isSafeInteger(value)) return i;
      const integer = BigInt(value as bigint | number);
      if (integer < min || integer > max) return i;
      numbers[offset + i] = integer;
    }
    return -1;
  },
});

const booleans: ElementReader = {
  expected: "true or false",
  fill(row, out, offset) {
    const numbers = out as Uint8Array;
    for (let i = 0; i < row.length; i++) {
      const value = row[i];
      if (value !== true && value !== false && value !== 0 && value !== 1) return i;
      numbers[offset + i] = Number(value);
    }
    return -1;
  },
};

const strings: ElementReader = {
  expected: "a string without lone surrogates",
  fill(row, out, offset) {
    const texts = out as string[];
    for (let i = 0; i < row.length; i++) {
      const value = row[i];
      // UTF-8, which the runtime and binary data carry, has no form for them.
      if (typeof value !== "string" || !value.isWellFormed()) return i;
      texts[offset + i] = value;
    }
    return -1;
  },
};

const READERS: Readonly<Record<Exclude<Datatype, "FP16" | "BF16">, ElementReader>> = {
  BOOL: booleans,
  UINT8: integers(0, 255),
  UINT16: integers(0, 65_535),
  UINT32: integers(0, 4_294_967_295),
  UINT64: bigIntegers(0n, 2n ** 64n - 1n),
  INT8: integers(-128, 127),
  INT16: integers(-32_768, 32_767),
  INT32: integers(-2_147_483_648, 2_147_483_647),
  INT64: bigIntegers(-(2n ** 63n), 2n ** 63n - 1n),
  FP32: floats(MAX_FP32, "a number that fits FP32"),
  FP64: floats(Number.POSITIVE_INFINITY, "a finite number"),
  BYTES: strings,
};

/**
 * Reads `value`, flat or nested exactly as `shape`, or a row of numbers, into a new array of `datatype`'s kind.
 * @param field what to call the data in errors, such as `inputs["image"].data`
 * @throws {InvalidInputError}
 */
export function readTensorData(
  value: unknown,
  datatype: Datatype,
  shape: readonly number[],
  field: string,
): TensorData {
  if (datatype === "FP16" || datatype === "BF16")
    throw new InvalidInputError({
      field,
      received: `${datatype} as JSON`,
      expected: "binary data: half precision has no JSON form",
    });
  if (value instanceof NumberRow) return readRow(value, datatype, shape, field);
  if (!Array.isArray(value))
    throw new InvalidInputError({ field, received: describeJson(value), expected: "an array" });

  const count = elementCount(shape);
  const reader = READERS[datatype];
  const nesting: Nesting = { shape, field, path: [] };
  const nested = shape.length > 1 && Array.isArray(value[0]);
  // Nothing is allocated for a shape that the data cannot fill.
  if (nested) assertNested(nesting, value, 0);
  else if (value.length !== count)
    throw new InvalidInputError({
      field,
      received: `${value.length} elements`,
      expected: `${count} elements for shape ${formatShape(shape)}`,
    });

  const out = allocate(datatype, count);
  if (nested) fillNested(nesting, value, 0, out, 0, reader);
  else fillRow(nesting, value, out, 0, reader);
  return out;
}

function readRow(
  row: NumberRow,
  datatype: Exclude<Datatype, "FP16" | "BF16">,
  shape: readonly number[],
  field: string,
): TensorData {
  const count = elementCount(shape);
  const { fill, fillNumbers, expected } = READERS[datatype];
  const { values } = row;
  if (values.length !== count)
    throw new InvalidInputError({
      field,
      received: `${values.length} elements`,
      expected: `${count} elements for shape ${formatShape(shape)}`,
    });
  const out = allocateShared(datatype, count);
  const bad = fillNumbers ? fillNumbers(values, out, 0) : fill(Array.from(values), out, 0);
  if (bad >= 0)
    throw new InvalidInputError({ field: `${field}[${bad}]`, received: String(values[bad]), expected });
  return out;
}

/** Where a walk through nested arrays is: `path[axis]` is the index it is at. Errors print it; nothing else does. */
type Nesting = { shape: readonly number[]; field: string; path: number[] };

/** Checks that every level has the length its axis declares; innermost elements are checked when they are read. */
function assertNested(nesting: Nesting, value: unknown, axis: number): void {
  const { shape, path } = nesting;
  if (!Array.isArray(value) || value.length !== shape[axis])
    throw new InvalidInputError({
      field: fieldAt(nesting, axis),
      received: describeJson(value),
      expected: `an array of ${shape[axis]}, axis ${axis} of shape ${formatShape(shape)}`,
    });
  if (axis + 1 === shape.length) return;
  for (let i = 0; i < value.length; i++) {
    path[axis] = i;
    assertNested(nesting, value[i], axis + 1);
  }
}

function fillNested(
  nesting: Nesting,
  value: readonly unknown[],
  axis: number,
  out: TensorData,
  offset: number,
  reader: ElementReader,
): number {
  if (axis + 1 === nesting.shape.length) {
    fillRow(nesting, value, out, offset, reader, axis);
    return offset + value.length;
  }
  let next = offset;
  for (let i = 0; i < value.length; i++) {
    nesting.path[axis] = i;
    next = fillNested(nesting, value[i] as unknown[], axis + 1, out, next, reader);
  }
  return next;
}

function fillRow(
  nesting: Nesting,
  row: readonly unknown[],
  out: TensorData,
  offset: number,
  reader: ElementReader,
  axis = 0,
): void {
  const bad = reader.fill(row, out, offset);
  if (bad >= 0)
    throw new InvalidInputError({
      field: `${fieldAt(nesting, axis)}[${bad}]`,
      received: describeJson(row[bad]),
      expected: reader.expected,
    });
}

function fieldAt({ field, path }: Nesting, axis: number): string {
  let name = field;
  for (let i = 0; i < axis; i++) name += `[${path[i]}]`;
  return name;
}

/** Begins what stands for a long integer. Nobody outside can write it, and unquoted it is no JSON. */
const LONG = `#${randomUUID()}:`;
const LONG_INTEGER = /([[,:\s])(-?\d{16,})(?=[\s,\]}])/g;

/** Integers with fewer digits are exact as numbers. Decimals have as many, and are none. */
const LONG_DIGITS = /[^\d.]\d{16}/;

/** Whether integers of the datatype may be longer than numbers are exact. */
export function isLong(datatype: Datatype): boolean {
  return datatype === "INT64" || datatype === "UINT64";
}

/** Whether JSON may hold integers that a number does not keep. */
export function hasLongIntegers(text: string): boolean {
  return LONG_DIGITS.test(text);
}

/**
 * Parses JSON again, keeping integers of 16 digits and more as bigints instead of rounding them; shorter ones are exact
 * as numbers. For requests with INT64 or UINT64 tensors and long numbers only.
 */
export function parseExactIntegers(text: string): unknown {
  try {
    // Quoting a number inside of a string ends that string before something that is no JSON.
    return withLongIntegers(JSON.parse(text.replace(LONG_INTEGER, `$1"${LONG}$2"`)));
  } catch {
    return JSON.parse(text, revive);
  }
}

function withLongIntegers(value: unknown): unknown {
  if (typeof value === "string" && value.startsWith(LONG)) return BigInt(value.slice(LONG.length));
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) for (let i = 0; i < value.length; i++) value[i] = withLongIntegers(value[i]);
  else {
    const members = value as Record<string, unknown>;
    for (const key in members) members[key] = withLongIntegers(members[key]);
  }
  return value;
}

type ReviverContext = { source?: string };

/** Three times slower: for JSON with such numbers inside of strings. */
function revive(_key: string, value: unknown, context?: ReviverContext): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  return /^-?\d{16,}$/.test(context.source) ? BigInt(context.source) : value;
}
