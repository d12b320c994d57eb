/**
 * IDX files, the format of MNIST (yann.lecun.com/exdb/mnist): two zero bytes, element type, rank, big-endian
 * 32-bit sizes, then row-major data. Only unsigned bytes (type 8) are read, which is what the image sets hold.
 * A file that ends in .gz is inflated.
 */

import { gunzipSync } from "node:zlib";
import { DatasetCorruptError, errorMessage } from "../errors.ts";

const UNSIGNED_BYTE = 0x08;

export type IdxArray = { shape: number[]; data: Uint8Array };

/** @throws {DatasetCorruptError} naming the file, what it holds and what was expected */
export function parseIdx(file: string, bytes: Uint8Array): IdxArray {
  const raw = file.endsWith(".gz") ? inflate(file, bytes) : bytes;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  if (raw.byteLength < 4)
    throw new DatasetCorruptError(file, {
      received: `${raw.byteLength} bytes`,
      expected: "an IDX header of at least 4",
    });
  if (view.getUint16(0) !== 0 || view.getUint8(2) !== UNSIGNED_BYTE)
    throw new DatasetCorruptError(file, {
      received: `header 0x${view.getUint32(0).toString(16).padStart(8, "0")}`,
      expected: "0x000008NN, an IDX file of unsigned bytes",
    });
  const rank = view.getUint8(3);
  const header = 4 + 4 * rank;
  if (rank === 0 || raw.byteLength < header)
    throw new DatasetCorruptError(file, {
      received: `${raw.byteLength} bytes, rank ${rank}`,
      expected: `a header of ${header} bytes`,
    });
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  const length = shape.reduce((product, size) => product * size, 1);
  if (raw.byteLength !== header + length)
    throw new DatasetCorruptError(file, {
      received: `${raw.byteLength} bytes`,
      expected: `${header + length} bytes for shape [${shape.join(",")}]`,
    });
  return { shape, data: raw.subarray(header) };
}

function inflate(file: string, bytes: Uint8Array): Uint8Array {
  try {
    return gunzipSync(bytes);
  } catch (error) {
    throw new DatasetCorruptError(file, { received: errorMessage(error), expected: "gzip data" });
  }
}
