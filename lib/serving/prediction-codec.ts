/**
 * A prediction's outputs as bytes, exactly: typed arrays come back as the same typed arrays with the same bits.
 *
 * Layout, little-endian: "MPC1", CRC-32 of the rest (u32), number of tensors (u32), then per tensor: name, datatype,
 * rank (u32), sizes (f64 each), data. Strings and data are preceded by their byte length (u32); BYTES data is a
 * number of elements (u32) and that many strings. Strings are UTF-16, which keeps every JavaScript string. Anything
 * that does not check out decodes to undefined: a cache entry nobody can read is a miss.
 */

import { crc32 } from "node:zlib";
import { allocate, elementBytes, isDatatype, type NumericArray } from "../tensor/datatype.ts";
import { assertTensor, elementCount, type Tensor } from "../tensor/tensor.ts";

const MAGIC = 0x3143504d;
const HEADER_BYTES = 8;

export function encodePrediction(tensors: readonly Tensor[]): Buffer {
  const parts: Uint8Array[] = [];
  const u32 = (value: number) => {
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32LE(value);
    parts.push(part);
  };
  const bytes = (value: Uint8Array) => {
    u32(value.byteLength);
    parts.push(value);
  };
  const text = (value: string) => bytes(Buffer.from(value, "utf16le"));

  u32(tensors.length);
  for (const { name, datatype, shape, data } of tensors) {
    text(name);
    text(datatype);
    u32(shape.length);
    const sizes = Buffer.allocUnsafe(shape.length * 8);
    for (const [i, size] of shape.entries()) sizes.writeDoubleLE(size, i * 8);
    parts.push(sizes);
    if (Array.isArray(data)) {
      u32(data.length);
      for (const element of data) text(element);
    } else bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  const body = Buffer.concat(parts);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32LE(MAGIC);
  header.writeUInt32LE(crc32(body), 4);
  return Buffer.concat([header, body]);
}

/** The tensors, in arrays of their own; undefined when `encoded` is anything but a whole, undamaged encoding. */
export function decodePrediction(encoded: Buffer): Tensor[] | undefined {
  if (encoded.byteLength < HEADER_BYTES + 4 || encoded.readUInt32LE(0) !== MAGIC) return undefined;
  const body = encoded.subarray(HEADER_BYTES);
  if (crc32(body) !== encoded.readUInt32LE(4)) return undefined;
  try {
    return readTensors(body);
  } catch {
    // The checksum held, so this was written by something else than encodePrediction.
    return undefined;
  }
}

function readTensors(body: Buffer): Tensor[] {
  let at = 0;
  const u32 = () => {
    at += 4;
    return body.readUInt32LE(at - 4);
  };
  const bytes = () => {
    const length = u32();
    if (at + length > body.byteLength) throw new RangeError("truncated");
    at += length;
    return body.subarray(at - length, at);
  };
  const text = () => bytes().toString("utf16le");
  const read = (): Tensor => {
    const name = text();
    const datatype = text();
    if (!isDatatype(datatype)) throw new RangeError(`unknown datatype ${datatype}`);
    const shape = Array.from({ length: bounded(u32(), body) }, () => {
      at += 8;
      return body.readDoubleLE(at - 8);
    });
    if (datatype === "BYTES")
      return { name, datatype, shape, data: Array.from({ length: bounded(u32(), body) }, text) };
    const raw = bytes();
    const length = elementCount(shape);
    if (length * elementBytes(datatype) !== raw.byteLength) throw new RangeError("data and shape disagree");
    const data = allocate(datatype, length) as NumericArray;
    new Uint8Array(data.buffer).set(raw);
    return { name, datatype, shape, data };
  };
  const tensors = Array.from({ length: bounded(u32(), body) }, read);
  if (at !== body.byteLength) throw new RangeError("trailing bytes");
  for (const tensor of tensors) assertTensor(tensor, tensor.name);
  return tensors;
}

/** No list has more items than the whole has bytes: keeps a nonsense length from allocating gigabytes. */
function bounded(length: number, body: Buffer): number {
  if (length > body.byteLength) throw new RangeError(`length ${length} is beyond the end`);
  return length;
}
