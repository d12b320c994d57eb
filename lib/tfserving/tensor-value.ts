/**
 * Nested JSON lists to tensors, as TensorFlow Serving reads them ("JSON mapping" in its REST documentation): the shape
 * is what the nesting says, the datatype what the model's signature says. Numbers go into any numeric type they fit, a
 * double too large for FP32 becomes an infinity, `{"b64": …}` is a string given as base64.
 *
 * Refuses ragged lists, values of another type, integers that do not fit, more than 32 levels, and half precision,
 * which has no JSON form; every refusal names the position. Nothing is allocated before the lists are known to be even.
 */

import { isUtf8 } from "node:buffer";
import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import { allocate, type Datatype, type NumericArray, type TensorData } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";

/** What one JSON value becomes; undefined when it does not fit. */
type Read = (value: unknown) => number | bigint | string | undefined;

type ElementReader = { read: Read; expected: string };

/** How a position in nested lists is written: `[2, 0]` as `instances[2][0]`. */
export type Position = (indices: readonly number[]) => string;

export type Nested = { value: unknown; datatype: Datatype; position: Position; hasTokens: boolean };

const MAX_RANK = 32;

/** What base64 has no use for, in its standard and its URL alphabet. */
const NOT_BASE64 = /[^\w+/-]/;

const integer = (min: bigint, max: bigint): ElementReader => {
  const [low, high] = [Number(min), Number(max)];
  return {
    expected: `an integer from ${min} to ${max}`,
    read: (value) =>
      Number.isInteger(value) && (value as number) >= low && (value as number) <= high
        ? (value as number)
        : undefined,
  };
};

/** Integers beyond 2^53 come as bigints, if they are exact. */
const bigInteger = (min: bigint, max: bigint): ElementReader => ({
  expected: `an integer from ${min} to ${max}, written in digits`,
  read: (value) => {
    if (typeof value !== "bigint" && !Number.isSafeInteger(value)) return undefined;
    const exact = BigInt(value as bigint | number);
    return exact >= min && exact <= max ? exact : undefined;
  },
});

const float: ElementReader = {
  expected: "a number",
  read: (value) => {
    if (typeof value === "number") return value;
    return typeof value === "bigint" ? Number(value) : undefined;
  },
};

const READERS: Readonly<Record<Exclude<Datatype, "FP16" | "BF16">, ElementReader>> = {
  BOOL: {
    expected: "true or false",
    read: (value) => (typeof value === "boolean" ? Number(value) : undefined),
  },
  UINT8: integer(0n, 255n),
  UINT16: integer(0n, 65_535n),
  UINT32: integer(0n, 4_294_967_295n),
  UINT64: bigInteger(0n, 2n ** 64n - 1n),
  INT8: integer(-128n, 127n),
  INT16: integer(-32_768n, 32_767n),
  INT32: integer(-(2n ** 31n), 2n ** 31n - 1n),
  INT64: bigInteger(-(2n ** 63n), 2n ** 63n - 1n),
  FP32: float,
  FP64: float,
  BYTES: {
    expected: 'a string of Unicode characters, or {"b64": its UTF-8 bytes as base64}',
    read: (value) => {
      if (typeof value === "string") return value.isWellFormed() ? value : undefined;
      return isBase64(value) ? decodeBase64(value.b64) : undefined;
    },
  },
};

/** Whether a value is `{"b64": string}` and nothing else. */
export function isBase64(value: unknown): value is { b64: string } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const { b64 } = value as { b64?: unknown };
  return typeof b64 === "string" && Object.keys(value).length === 1;
}

/** Whether a tensor of this type needs integers to their last digit. */
export function needsExactIntegers(datatype: Datatype): boolean {
  return datatype === "INT64" || datatype === "UINT64";
}

/** @throws {InvalidInputError} naming the position */
export function readNested(nested: Nested): { shape: number[]; data: TensorData } {
  const { value, datatype, position, hasTokens } = nested;
  const reader = readerOf(datatype, position([]));
  const shape = shapeOf(value, position);
  const walk: Walk = { shape, position, path: [] };
  assertEven(walk, value, 0);
  const data = allocate(datatype, elementCount(shape));
  fill({ ...walk, path: [], data, next: 0, reader, hasTokens }, value, 0);
  return { shape, data };
}

/**
 * Flat values to elements, from `offset` on.
 * @throws {InvalidInputError}
 */
export function readFlat(
  values: readonly unknown[],
  { datatype, position, hasTokens }: Omit<Nested, "value">,
  data: TensorData,
  offset: number,
): void {
  const reader = readerOf(datatype, position([]));
  fillRow({ shape: [values.length], position, path: [], data, next: offset, reader, hasTokens }, values, 0);
}

type Walk = { shape: readonly number[]; position: Position; path: number[] };
type Fill = Walk & { data: TensorData; next: number; reader: ElementReader; hasTokens: boolean };

function readerOf(datatype: Datatype, field: string): ElementReader {
  if (datatype === "FP16" || datatype === "BF16")
    throw new InvalidInputError({
      field,
      received: "JSON",
      expected: `${datatype}, which has no JSON form; the Open Inference Protocol takes it as binary data`,
    });
  return READERS[datatype];
}

/** As the first elements say. */
function shapeOf(value: unknown, position: Position): number[] {
  const shape: number[] = [];
  for (let level = value; Array.isArray(level); level = level[0]) {
    if (shape.length === MAX_RANK)
      throw new InvalidInputError({
        field: position([]),
        received: `lists nested deeper than ${MAX_RANK} levels`,
        expected: `at most ${MAX_RANK}`,
      });
    shape.push(level.length);
  }
  return shape;
}

function assertEven(walk: Walk, value: unknown, axis: number): void {
  const { shape, position, path } = walk;
  if (axis === shape.length) return;
  if (!Array.isArray(value) || value.length !== shape[axis])
    throw new InvalidInputError({
      field: position(path.slice(0, axis)),
      received: describeJson(value),
      expected: `an array of ${shape[axis]}, as the first one there`,
    });
  if (axis + 1 === shape.length) return;
  for (let i = 0; i < value.length; i++) {
    path[axis] = i;
    assertEven(walk, value[i], axis + 1);
  }
}

function fill(state: Fill, value: unknown, axis: number): void {
  const rank = state.shape.length;
  if (rank === 0) fillRow({ ...state, position: () => state.position([]) }, [value], 0);
  else if (axis + 1 === rank) fillRow(state, value as readonly unknown[], axis);
  else {
    const lists = value as readonly unknown[];
    for (let i = 0; i < lists.length; i++) {
      state.path[axis] = i;
      fill(state, lists[i], axis + 1);
    }
  }
}

function fillRow(state: Fill, values: readonly unknown[], axis: number): void {
  const { data, reader, hasTokens } = state;
  const elements = data as NumericArray;
  const isFloat = reader === float;
  for (let i = 0; i < values.length; i++) {
    const value = reader.read(values[i]);
    const tooLarge = isFloat && !hasTokens && !Number.isFinite(value);
    if (value === undefined || tooLarge)
      throw new InvalidInputError({
        field: state.position([...state.path.slice(0, axis), i]),
        received: describeValue(values[i]),
        expected: tooLarge ? "a number that a double can hold" : reader.expected,
      });
    elements[state.next++] = value as number;
  }
}

function describeValue(value: unknown): string {
  return isBase64(value) ? `{"b64": ${describeJson(value.b64)}}` : describeJson(value);
}

/** Undefined when it is not base64, or its bytes are not UTF-8: strings are what models take. */
function decodeBase64(text: string): string | undefined {
  const digits = text.replace(/={1,2}$/, "");
  if (digits.length % 4 === 1 || NOT_BASE64.test(digits)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
}
