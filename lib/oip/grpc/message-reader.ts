/**
 * Reads protocol buffer messages field by field, as the inference messages are read: nested messages in place, by where
 * they end, and without a schema, which would cost the hot path several times as much (docs/decisions). A field is
 * told by its key, number and wire type in one; what is not known is skipped, groups included, as protocol buffers
 * ask. Every fault of the bytes leaves as a `MalformedBodyError`; nothing is allocated for lengths they only claim.
 */

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { errorMessage, MalformedBodyError, MoietyError } from "../../errors.ts";

export const varint = (field: number): number => (field << 3) | WireType.Varint;
export const fixed32 = (field: number): number => (field << 3) | WireType.Bit32;
export const fixed64 = (field: number): number => (field << 3) | WireType.Bit64;
/** Strings, bytes, messages and packed numbers. */
export const lengthDelimited = (field: number): number => (field << 3) | WireType.LengthDelimited;

/** What `MessageReader.next` gives at the end of a message; no field has this key. */
export const END = 0;

const ENTRY_KEY = lengthDelimited(1);
const ENTRY_VALUE = lengthDelimited(2);

export class MessageReader extends BinaryReader {
  readonly #message: Uint8Array;

  constructor(message: Uint8Array) {
    super(message);
    this.#message = message;
  }

  /** The key of the next field of a message that ends at `end`; `END` there. */
  next(end: number): number {
    if (this.pos >= end) {
      if (this.pos > end) throw new RangeError("a field reaches beyond the message it is in");
      return END;
    }
    const [field, type] = this.tag();
    return (field << 3) | type;
  }

  /** Where the message or the packed numbers end whose length is read next. */
  end(): number {
    const bytes = this.uint32();
    if (bytes > this.len - this.pos) throw new RangeError("premature EOF");
    return this.pos + bytes;
  }

  /** Everything up to `end`, as a view. */
  upTo(end: number): Uint8Array {
    const bytes = this.#message.subarray(this.pos, end);
    this.pos = end;
    return bytes;
  }

  /** Passes over a field that is not known. */
  pass(key: number): void {
    this.skip(key & 7, key >>> 3);
  }

  /** Text; bytes that are not UTF-8 are refused. */
  text(): string {
    return this.string(true);
  }

  /**
   * The entry of a map with string keys whose length is read next.
   * @param read reads a value that ends at `end`
   */
  entry<T>(read: (reader: this, end: number) => T | undefined): [key: string, value: T | undefined] {
    const end = this.end();
    let name = "";
    let value: T | undefined;
    for (let key = this.next(end); key !== END; key = this.next(end))
      if (key === ENTRY_KEY) name = this.text();
      else if (key === ENTRY_VALUE) value = read(this, this.end());
      else this.pass(key);
    return [name, value];
  }

  /** An int64 or uint64 as a number; beyond 2^53 not a safe integer any more. */
  whole(signed: boolean): number {
    return Number(signed ? this.int64() : this.uint64());
  }
}

/**
 * Reads one message.
 * @param what the message's name, for the error
 * @throws {MalformedBodyError} and what `read` throws of the catalogue
 */
export function readMessage<T>(
  bytes: Uint8Array,
  what: string,
  read: (reader: MessageReader, end: number) => T,
): T {
  try {
    return read(new MessageReader(bytes), bytes.length);
  } catch (error) {
    if (error instanceof MoietyError) throw error;
    throw new MalformedBodyError(`it is no ${what}: ${errorMessage(error)}`);
  }
}
