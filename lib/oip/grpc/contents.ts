/**
 * `InferTensorContents`: the elements of one input as numbers of a protocol buffer, in the field that belongs to its
 * datatype, packed or not. Refused: elements in another field, too few or too many, values that the datatype cannot
 * hold, text that is not UTF-8, and FP16 and BF16, which have no field and are sent raw. FP32 and FP64 are copied once;
 * the others are read one by one.
 */

import { isUtf8 } from "node:buffer";
import { InvalidInputError } from "../../errors.ts";
import { allocate, type Datatype, type TensorData } from "../../tensor/datatype.ts";
import {
  END,
  fixed32,
  fixed64,
  lengthDelimited,
  type MessageReader,
  readMessage,
  varint,
} from "./message-reader.ts";

type Element = number | bigint | string;

type ContentsField = {
  number: number;
  name: string;
  /** Of one element on the wire, at least. */
  leastBytes: number;
  /** The key of an element that is not packed. */
  single: number;
  packable: boolean;
  /** One element; undefined when the datatype cannot hold it. */
  read: (reader: MessageReader) => Element | undefined;
};

const integers = (number: number, name: string, least: number, most: number): ContentsField => ({
  number,
  name,
  leastBytes: 1,
  single: varint(number),
  packable: true,
  read(reader) {
    const value = least < 0 ? reader.int32() : reader.uint32();
    return value >= least && value <= most ? value : undefined;
  },
});

const signed = (least: number, most: number) => integers(2, "int_contents", least, most);
const unsigned = (most: number) => integers(4, "uint_contents", 0, most);

const FIELDS: Readonly<Record<Exclude<Datatype, "FP16" | "BF16">, ContentsField>> = {
  BOOL: {
    number: 1,
    name: "bool_contents",
    leastBytes: 1,
    single: varint(1),
    packable: true,
    read: (reader) => Number(reader.bool()),
  },
  INT8: signed(-128, 127),
  INT16: signed(-32_768, 32_767),
  INT32: signed(-2_147_483_648, 2_147_483_647),
  INT64: {
    number: 3,
    name: "int64_contents",
    leastBytes: 1,
    single: varint(3),
    packable: true,
    read: (reader) => BigInt(reader.int64()),
  },
  UINT8: unsigned(255),
  UINT16: unsigned(65_535),
  UINT32: unsigned(4_294_967_295),
  UINT64: {
    number: 5,
    name: "uint64_contents",
    leastBytes: 1,
    single: varint(5),
    packable: true,
    read: (reader) => BigInt(reader.uint64()),
  },
  FP32: {
    number: 6,
    name: "fp32_contents",
    leastBytes: 4,
    single: fixed32(6),
    packable: true,
    read: (reader) => reader.float(),
  },
  FP64: {
    number: 7,
    name: "fp64_contents",
    leastBytes: 8,
    single: fixed64(7),
    packable: true,
    read: (reader) => reader.double(),
  },
  BYTES: {
    number: 8,
    name: "bytes_contents",
    leastBytes: 2,
    single: lengthDelimited(8),
    packable: false,
    read(reader) {
      const bytes = reader.bytes();
      return isUtf8(bytes)
        ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()
        : undefined;
    },
  },
};

const NAMES = new Map(Object.values(FIELDS).map(({ number, name }) => [number, name]));

/**
 * The elements, exactly `elements` of them.
 * @param field what to call the contents in errors, such as `inputs["image"].contents`
 * @throws {InvalidInputError} {MalformedBodyError}
 */
export function readContents(
  contents: Uint8Array,
  datatype: Datatype,
  elements: number,
  field: string,
): TensorData {
  if (datatype === "FP16" || datatype === "BF16")
    throw new InvalidInputError({
      field,
      received: `${datatype} as typed contents`,
      expected: "raw_input_contents: half precision has no other form",
    });
  const wanted = FIELDS[datatype];
  // Nothing is allocated for a shape that the contents cannot fill.
  if (elements * wanted.leastBytes > contents.length)
    throw new InvalidInputError({
      field,
      received: `${contents.length} bytes`,
      expected: `${elements} elements in ${wanted.name}`,
    });
  const filling = new Filling(datatype, wanted, elements, field);
  readMessage(contents, "InferTensorContents", (reader, end) => {
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      if (key === wanted.single) filling.one(reader);
      else if (wanted.packable && key === lengthDelimited(wanted.number))
        filling.packed(reader, reader.end());
      else filling.other(reader, key);
  });
  return filling.whole();
}

/** An array on its way to being full. */
class Filling {
  readonly #datatype: Datatype;
  readonly #wanted: ContentsField;
  readonly #elements: number;
  readonly #field: string;
  readonly #data: TensorData;
  #count = 0;

  constructor(datatype: Datatype, wanted: ContentsField, elements: number, field: string) {
    this.#datatype = datatype;
    this.#wanted = wanted;
    this.#elements = elements;
    this.#field = field;
    this.#data = allocate(datatype, elements);
  }

  one(reader: MessageReader): void {
    const value = this.#wanted.read(reader);
    if (this.#count === this.#elements) this.#refuse("", `more than ${this.#elements} elements`);
    if (value === undefined) this.#refuse(`[${this.#count}]`, "a value that does not fit");
    (this.#data as Record<number, Element>)[this.#count++] = value!;
  }

  packed(reader: MessageReader, end: number): void {
    const { leastBytes } = this.#wanted;
    if (leastBytes === 1) {
      while (reader.pos < end) this.one(reader);
      if (reader.pos > end) throw new RangeError("a number reaches beyond the field it is in");
      return;
    }
    const bytes = reader.upTo(end);
    if (bytes.length % leastBytes !== 0)
      this.#refuse("", `${bytes.length} packed bytes, no multiple of ${leastBytes}`);
    const count = bytes.length / leastBytes;
    if (this.#count + count > this.#elements) this.#refuse("", `more than ${this.#elements} elements`);
    const { buffer, byteOffset, byteLength } = this.#data as Float32Array | Float64Array;
    new Uint8Array(buffer, byteOffset, byteLength).set(bytes, this.#count * leastBytes);
    this.#count += count;
  }

  /** Any other field; one for another datatype must be empty. */
  other(reader: MessageReader, key: number): void {
    const name = NAMES.get(key >>> 3);
    const begin = reader.pos;
    reader.pass(key);
    // A field without elements is a length of nothing.
    const empty = key === lengthDelimited(key >>> 3) && reader.pos === begin + 1;
    if (name !== undefined && !empty) this.#refuse("", `elements in ${name}`);
  }

  whole(): TensorData {
    if (this.#count !== this.#elements) this.#refuse("", `${this.#count} elements`);
    return this.#data;
  }

  #refuse(where: string, received: string): never {
    throw new InvalidInputError({
      field: `${this.#field}${where}`,
      received,
      expected: `${this.#elements} elements of ${this.#datatype} in ${this.#wanted.name}`,
    });
  }
}
