/** What an operator of an ensemble is: the options it takes, how many tensors, and the ONNX nodes it stands for. */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { Fields } from "../../registry/fields.ts";
import { allocate, type Datatype } from "../../tensor/datatype.ts";

export type Options = Readonly<Record<string, unknown>>;

export type OperatorRule = {
  options: Fields;
  /** Options without a default. */
  required: readonly string[];
  /** Least and most tensors it reads. */
  inputs: readonly [number, number];
  /** Most tensors it writes. */
  outputs: number;
  /**
   * Its results, by position.
   * @throws {InvalidModelError} where types or shapes do not fit
   */
  build(graph: GraphBuilder, inputs: readonly Value[], options: Options): Value[];
};

const MAX_LENGTH = 100_000;
const FLOATS: readonly Datatype[] = ["FP32", "FP16", "FP64"];

export const isNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value);
const isInteger = (value: unknown) =>
  Number.isInteger(value) && Math.abs(value as number) <= Number.MAX_SAFE_INTEGER;

export const NUMBER = { expected: "a finite number", accepts: isNumber };
export const INTEGER = { expected: "an integer", accepts: isInteger };
export const FLAG = { expected: "true or false", accepts: (value: unknown) => typeof value === "boolean" };
export const INTEGERS = {
  expected: "a list of integers",
  accepts: (value: unknown) => isList(value, isInteger),
};
export const NUMBERS = {
  expected: "a number, or one for each channel",
  accepts: (value: unknown) => isNumber(value) || isList(value, isNumber),
};
export const LAYOUT = {
  expected: '"NHWC" or "NCHW"',
  accepts: (value: unknown) => value === "NHWC" || value === "NCHW",
};
/** Height and width. */
export const EXTENT = {
  expected: "[height, width], from 1 to 16384",
  accepts: (value: unknown) =>
    isList(value, (size) => isInteger(size) && (size as number) >= 1 && (size as number) <= 16_384) &&
    value.length === 2,
};

export function isList(value: unknown, accepts: (item: unknown) => boolean): value is unknown[] {
  // Holes too, which `every` passes over.
  return (
    Array.isArray(value) && value.length > 0 && value.length <= MAX_LENGTH && Array.from(value).every(accepts)
  );
}

/** Whose mistake it is is added by whoever knows the operator's place. */
export function unfit(reason: string): never {
  throw new InvalidModelError("operator", reason);
}

export function assertFloat({ datatype }: Value): void {
  if (!FLOATS.includes(datatype))
    unfit(`received ${datatype}, expected ${FLOATS.join(", ")}: cast it before`);
}

/** `axis`, counted from the front. */
export function axisOf({ shape }: Value, axis: number): number {
  const positive = axis < 0 ? axis + shape.length : axis;
  if (positive < 0 || positive >= shape.length)
    unfit(`axis ${axis} is out of range for the shape ${shown(shape)}`);
  return positive;
}

/** A constant of `like`'s type that holds `numbers` in `shape`. */
export function constantLike(
  graph: GraphBuilder,
  like: Value,
  numbers: readonly number[],
  shape: number[],
): Value {
  const raw = like.datatype === "FP16" || like.datatype === "BF16";
  const datatype = raw ? "FP32" : like.datatype;
  if (datatype === "BYTES" || datatype === "BOOL") return unfit(`received ${datatype}, expected numbers`);
  const data = allocate(datatype, numbers.length);
  const big = data instanceof BigInt64Array || data instanceof BigUint64Array;
  for (const [i, number] of numbers.entries()) {
    if (!FLOATS.includes(datatype) && !Number.isInteger(number))
      unfit(`received ${number} for ${datatype}, expected an integer: cast to FP32 before`);
    data[i] = (big ? BigInt(number) : number) as never;
  }
  const constant = graph.initializer("const", { datatype, shape, data });
  return raw ? graph.op("Cast", [constant], { to: ONNX_TYPE[like.datatype] }) : constant;
}

/** One number for all, or one per channel along `axis`, shaped so that it spreads over `like`. */
export function channelConstant(
  graph: GraphBuilder,
  like: Value,
  numbers: number | readonly number[],
  axis: number,
): Value {
  if (typeof numbers === "number") return constantLike(graph, like, [numbers], []);
  const at = axisOf(like, axis);
  const size = like.shape[at]!;
  if (typeof size === "number" && size !== numbers.length)
    unfit(`received ${numbers.length} numbers for axis ${axis} of ${shown(like.shape)}, expected ${size}`);
  const shape = like.shape.slice(at).map((_, i) => (i === 0 ? numbers.length : 1));
  return constantLike(graph, like, numbers, shape);
}

export function shown(shape: readonly Dim[]): string {
  return `[${shape.map((size) => (typeof size === "number" ? size : -1)).join(",")}]`;
}
