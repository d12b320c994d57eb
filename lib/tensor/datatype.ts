/**
 * Element types, under the names of the Open Inference Protocol v2, and the typed array each one lives in.
 * FP16 and BF16 are carried as their raw 16 bits; BYTES as strings.
 */

export const DATATYPES = [
  "BOOL",
  "UINT8",
  "UINT16",
  "UINT32",
  "UINT64",
  "INT8",
  "INT16",
  "INT32",
  "INT64",
  "FP16",
  "BF16",
  "FP32",
  "FP64",
  "BYTES",
] as const;

export type Datatype = (typeof DATATYPES)[number];

export type NumericArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

export type TensorData = NumericArray | string[];

type ArrayConstructor = {
  new (length: number): NumericArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): NumericArray;
  BYTES_PER_ELEMENT: number;
};

const ARRAYS: Readonly<Record<Exclude<Datatype, "BYTES">, ArrayConstructor>> = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  BF16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
};

export function isDatatype(value: unknown): value is Datatype {
  return typeof value === "string" && (DATATYPES as readonly string[]).includes(value);
}

/** A zeroed array that holds `length` elements of `datatype`. */
export function allocate(datatype: Datatype, length: number): TensorData {
  return datatype === "BYTES" ? new Array<string>(length).fill("") : new ARRAYS[datatype](length);
}

/**
 * `length` elements of `datatype` that begin at `byteOffset`, as a view.
 * @throws {RangeError} when the offset is not a multiple of the element's size, or the buffer too short
 */
export function viewOf(
  datatype: Exclude<Datatype, "BYTES">,
  buffer: ArrayBufferLike,
  byteOffset: number,
  length: number,
): NumericArray {
  return new ARRAYS[datatype](buffer, byteOffset, length);
}

/** Bytes per element. @throws {RangeError} for BYTES, whose elements vary. */
export function elementBytes(datatype: Datatype): number {
  if (datatype === "BYTES") throw new RangeError("BYTES elements have no fixed size");
  return ARRAYS[datatype].BYTES_PER_ELEMENT;
}

/** Whether `data` is the array type that `datatype` lives in. */
export function holds(datatype: Datatype, data: unknown): data is TensorData {
  if (datatype === "BYTES") return Array.isArray(data) && data.every((v) => typeof v === "string");
  return data instanceof ARRAYS[datatype];
}
