/**
 * Tensors as raw bytes, as the Open Inference Protocol carries them outside JSON (the binary tensor extension of
 * HTTP, `raw_input_contents` of gRPC): row-major, little-endian. BOOL is one byte; a BYTES element is its length
 * (u32) and that many bytes of UTF-8. FP16 and BF16 stay the 16 bits they are.
 *
 * Numbers are not copied where they lie on a boundary of their own size: the tensor is a view of the message, which
 * lives as long as the tensor. Typed arrays have the byte order of the machine; every platform that Node supports in
 * practice is little-endian. BYTES that are not UTF-8 are refused: elements are strings here, and would be damaged.
 */

import { isUtf8 } from "node:buffer";
import { InvalidInputError } from "../errors.ts";
import { type Datatype, elementBytes, type TensorData, viewOf } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Of the u32 before each BYTES element. */
const LENGTH_BYTES = 4;

/**
 * The elements that `bytes` holds: exactly `elements` of them and nothing else.
 * @param field what to call the data in errors, such as `inputs["image"].data`
 * @throws {InvalidInputError}
 */
export function decodeRaw(
  datatype: Datatype,
  elements: number,
  bytes: Uint8Array,
  field: string,
): TensorData {
  if (datatype === "BYTES") return decodeStrings(elements, bytes, field);
  const size = elementBytes(datatype);
  if (bytes.byteLength !== elements * size)
    throw new InvalidInputError({
      field,
      received: `${bytes.byteLength} bytes`,
      expected: `${elements * size} bytes for ${elements} elements of ${datatype}`,
    });
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return viewOf(datatype, aligned.buffer, aligned.byteOffset, elements);
}

/** The bytes of a tensor's elements: a view of its data, except for BYTES. */
export function encodeRaw({ data }: Pick<Tensor, "data">): Uint8Array {
  if (Array.isArray(data)) return encodeStrings(data);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function decodeStrings(elements: number, bytes: Uint8Array, field: string): string[] {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const refuse = (where: string, received: string, expected: string): never => {
    throw new InvalidInputError({ field: field + where, received, expected });
  };
  // Nothing is allocated for more elements than there is room for their lengths.
  if (elements * LENGTH_BYTES > message.length)
    refuse("", `${message.length} bytes`, `${LENGTH_BYTES} bytes and more for each of ${elements} elements`);
  const strings = new Array<string>(elements);
  let at = 0;
  for (let i = 0; i < elements; i++) {
    const left = message.length - at - LENGTH_BYTES;
    if (left < 0) refuse(`[${i}]`, `${left + LENGTH_BYTES} bytes`, "a length of 4 bytes");
    const length = message.readUInt32LE(at);
    if (length > left) refuse(`[${i}]`, `a length of ${length}`, `at most the ${left} bytes that are left`);
    const element = message.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
    if (!isUtf8(element)) refuse(`[${i}]`, `${length} bytes that are not UTF-8`, "UTF-8");
    strings[i] = element.toString("utf8");
    at += LENGTH_BYTES + length;
  }
  if (at !== message.length)
    refuse("", `${message.length} bytes`, `${at} bytes, where its ${elements} elements end`);
  return strings;
}

function encodeStrings(strings: readonly string[]): Buffer {
  const lengths = strings.map((text) => Buffer.byteLength(text));
  const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + LENGTH_BYTES + length, 0));
  let at = 0;
  for (const [i, text] of strings.entries()) {
    at = bytes.writeUInt32LE(lengths[i]!, at);
    at += bytes.write(text, at);
  }
  return bytes;
}
