/**
 * The safetensors file format (github.com/huggingface/safetensors): an 8-byte little-endian header length, a JSON
 * header {name: {dtype, shape, data_offsets}, "__metadata__": {…strings}}, then the tensors' bytes. Only F32, which
 * is what trained state is. Refuses files whose header and data disagree, and gaps and overlaps in the data.
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { elementCount } from "../tensor/tensor.ts";

export type NamedArrays = Map<string, { shape: number[]; data: Float32Array }>;

const LENGTH_BYTES = 8;
const ALIGNMENT = 8;
/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

export function writeSafetensors(tensors: NamedArrays, metadata: Record<string, string>): Uint8Array {
  let offset = 0;
  const entries = [...tensors].map(([name, { shape, data }]) => {
    const begin = offset;
    offset += data.byteLength;
    return [name, { dtype: "F32", shape, data_offsets: [begin, offset] }] as const;
  });
  const header = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) });
  let encoded = new TextEncoder().encode(header);
  const padding = -encoded.byteLength & (ALIGNMENT - 1);
  if (padding > 0) encoded = new TextEncoder().encode(header + " ".repeat(padding));
  const file = new Uint8Array(LENGTH_BYTES + encoded.byteLength + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(encoded.byteLength), true);
  file.set(encoded, LENGTH_BYTES);
  let at = LENGTH_BYTES + encoded.byteLength;
  for (const { data } of tensors.values()) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}

/** @throws {InvalidModelError} */
export function readSafetensors(bytes: Uint8Array): {
  tensors: NamedArrays;
  metadata: Record<string, string>;
} {
  if (bytes.byteLength < LENGTH_BYTES) return refuse(`${bytes.byteLength} bytes are too few for a header`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES)
    return refuse(`its header of ${length} bytes is longer than the ${MAX_HEADER_BYTES} the format allows`);
  if (length > bytes.byteLength - LENGTH_BYTES)
    return refuse(`its header of ${length} bytes is longer than the file`);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
  const body = bytes.subarray(LENGTH_BYTES + length);
  const { __metadata__: metadata = {}, ...described } = header;
  if (!isTextRecord(metadata)) return refuse("its __metadata__ is not an object of strings");
  const entries = Object.entries(described).map(([name, entry]) => ({ name, ...parseEntry(name, entry) }));
  assertCovered(entries, body.byteLength);
  const tensors: NamedArrays = new Map();
  for (const { name, shape, begin, end } of entries) {
    // A copy, because the file's bytes need not be aligned (and a Buffer's own slice would not copy).
    const data = new Float32Array((end - begin) / 4);
    new Uint8Array(data.buffer).set(body.subarray(begin, end));
    tensors.set(name, { shape, data });
  }
  return { tensors, metadata };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    return refuse(`its header is not JSON (${errorMessage(error)})`);
  }
  return isRecord(header) ? header : refuse("its header is not a JSON object");
}

type Range = { begin: number; end: number };

function parseEntry(name: string, entry: unknown): Range & { shape: number[] } {
  const { dtype, shape, data_offsets: range } = isRecord(entry) ? entry : {};
  if (dtype !== "F32") return refuse(`tensor '${name}' has type ${String(dtype)}, expected F32`);
  if (isSizes(shape) && isSizes(range) && range.length === 2) {
    const [begin, end] = range as [number, number];
    if (end - begin === 4 * elementCount(shape)) return { shape, begin, end };
  }
  return refuse(
    `tensor '${name}' of shape ${JSON.stringify(shape)} does not fit its data ${JSON.stringify(range)}`,
  );
}

/** The format allows neither gaps nor overlaps: every byte after the header belongs to exactly one tensor. */
function assertCovered(entries: readonly (Range & { name: string })[], bodyBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) refuse(`tensor '${name}' begins at byte ${begin} of the data, expected ${at}`);
    at = end;
  }
  if (at !== bodyBytes) refuse(`it has ${bodyBytes} bytes of data, expected ${at}`);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTextRecord(value: unknown): value is Record<string, string> {
  return isRecord(value) && Object.values(value).every((text) => typeof text === "string");
}

function refuse(reason: string): never {
  throw new InvalidModelError("safetensors file", reason);
}
