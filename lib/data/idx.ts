/**
 * IDX files, the format of MNIST (yann.lecun.com/exdb/mnist): two zero bytes, element type, rank, big-endian
 * 32-bit sizes, then row-major data. Only unsigned bytes (type 8) are read, which is what the image sets hold.
 */

import { DatasetCorruptError } from "../errors.ts";
import type { ArrayHeader } from "./array-format.ts";

const UNSIGNED_BYTE = 0x08;

/** Reads what a file begins with. @throws {DatasetCorruptError} naming the file, what it holds and what was expected */
export function parseIdxHeader(file: string, start: Uint8Array): ArrayHeader {
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (start.byteLength < 4)
    throw new DatasetCorruptError(file, {
      received: `${start.byteLength} bytes`,
      expected: "an IDX header of at least 4",
    });
  if (view.getUint16(0) !== 0 || view.getUint8(2) !== UNSIGNED_BYTE)
    throw new DatasetCorruptError(file, {
      received: `header 0x${view.getUint32(0).toString(16).padStart(8, "0")}`,
      expected: "0x000008NN, an IDX file of unsigned bytes",
    });
  const rank = view.getUint8(3);
  const dataOffset = 4 + 4 * rank;
  if (rank === 0 || start.byteLength < dataOffset)
    throw new DatasetCorruptError(file, {
      received: `${start.byteLength} bytes, rank ${rank}`,
      expected: `a header of ${dataOffset} bytes`,
    });
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  return { datatype: "UINT8", shape, dataOffset };
}
