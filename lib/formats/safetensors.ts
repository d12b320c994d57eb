/**
 * The safetensors file format (github.com/huggingface/safetensors): an 8-byte little-endian header length, a JSON
 * header {name: {dtype, shape, data_offsets}, "__metadata__": {…strings}}, then the tensors' bytes. Only F32, which
 * is what trained state is. Refuses files whose header and data disagree.
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { elementCount } from "../tensor/tensor.ts";

export type NamedArrays = Map<string, { shape: number[]; data: Float32Array }>;

const LENGTH_BYTES = 8;
const ALIGNMENT = 8;

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
  const fail = (reason: string): never => {
    throw new InvalidModelError("safetensors file", reason);
  };
  if (bytes.byteLength < LENGTH_BYTES) return fail(`${bytes.byteLength} bytes are too few for a header`);
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > bytes.byteLength - LENGTH_BYTES)
    return fail(`its header of ${length} bytes is longer than the file`);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length), fail);
  const body = bytes.subarray(LENGTH_BYTES + length);
  const { __metadata__: metadata = {}, ...described } = header;
  const tensors: NamedArrays = new Map();
  for (const [name, entry] of Object.entries(described)) {
    const {
      dtype,
      shape,
      data_offsets: range,
    } = entry as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
    if (dtype !== "F32") return fail(`tensor '${name}' has type ${String(dtype)}, expected F32`);
    const [begin, end] = Array.isArray(range) ? (range as number[]) : [];
    if (
      !Array.isArray(shape) ||
      begin === undefined ||
      end === undefined ||
      end > body.byteLength ||
      end - begin !== 4 * elementCount(shape as number[])
    )
      return fail(
        `tensor '${name}' of shape ${JSON.stringify(shape)} does not fit its data ${JSON.stringify(range)}`,
      );
    // A copy, because the file's bytes need not be aligned (and a Buffer's own slice would not copy).
    const data = new Float32Array((end - begin) / 4);
    new Uint8Array(data.buffer).set(body.subarray(begin, end));
    tensors.set(name, { shape: shape as number[], data });
  }
  return { tensors, metadata: metadata as Record<string, string> };
}

function parseHeader(bytes: Uint8Array, fail: (reason: string) => never): Record<string, unknown> {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  } catch (error) {
    return fail(`its header is not JSON (${errorMessage(error)})`);
  }
}
