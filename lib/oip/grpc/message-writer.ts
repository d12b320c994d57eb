/**
 * Writes a plain object as a protocol buffer message, by a table of its fields: for messages of many fields that are
 * seldom asked for. What the object leaves undefined is left out, as are proto3's default values, which have no form of
 * their own; a key that the table lacks is a mistake here and thrown, so that nothing gets lost between two protocols.
 */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { asBuffer } from "./infer-response.ts";

/** A field's number, and its type: of a scalar by name, of an enum its values by name, of a message its own table. */
export type MessageTable = Readonly<Record<string, readonly [field: number, type: FieldType]>>;
export type FieldType = Scalar | EnumTable | MapOf | MessageTable;
type Scalar = "string" | "bool" | "int32" | "uint32" | "int64" | "uint64";
type EnumTable = ReadonlyMap<string, number>;

/** A map with string keys: each entry a message of key and value. */
class MapOf {
  readonly value: FieldType;
  constructor(value: FieldType) {
    this.value = value;
  }
}
export const mapOf = (value: FieldType): MapOf => new MapOf(value);

/** Integers must be safe ones. */
export function printMessage(value: object, table: MessageTable): Buffer {
  return asBuffer(writeMessage(new BinaryWriter(), value, table).finish());
}

function writeMessage(writer: BinaryWriter, message: object, table: MessageTable): BinaryWriter {
  for (const [name, value] of Object.entries(message) as [string, unknown][]) {
    const entry = table[name];
    if (entry === undefined) throw new RangeError(`No field ${name} in a message of ${Object.keys(table)}`);
    const [field, type] = entry;
    if (type instanceof MapOf)
      for (const [key, item] of Object.entries(value as object)) writeEntry(writer, field, key, item, type);
    else if (Array.isArray(value)) writeRepeated(writer, field, value, type);
    else if (!isDefault(value)) writeField(writer, field, value, type);
  }
  return writer;
}

function writeEntry(writer: BinaryWriter, field: number, key: string, value: unknown, of: MapOf): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  writeField(writer, 1, key, "string");
  writeField(writer, 2, value, of.value);
  writer.join();
}

/** Numbers are packed, as proto3 does it. */
function writeRepeated(
  writer: BinaryWriter,
  field: number,
  values: readonly unknown[],
  type: FieldType,
): void {
  if (wireType(type) === WireType.LengthDelimited)
    for (const value of values) writeField(writer, field, value, type);
  else if (values.length > 0) {
    writer.tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writeScalar(writer, value, type as Scalar | EnumTable);
    writer.join();
  }
}

function writeField(writer: BinaryWriter, field: number, value: unknown, type: FieldType): void {
  writer.tag(field, wireType(type));
  if (typeof type === "string" || type instanceof Map) writeScalar(writer, value, type);
  else writeMessage(writer.fork(), value as object, type as MessageTable).join();
}

function writeScalar(writer: BinaryWriter, value: unknown, type: Scalar | EnumTable): void {
  if (type instanceof Map) {
    const number = type.get(value as string);
    if (number === undefined) throw new RangeError(`${value} is none of ${[...type.keys()]}`);
    writer.int32(number);
  } else if (type === "string") writer.string(value as string);
  else if (type === "bool") writer.bool(value as boolean);
  else writer[type as "int32"](value as number);
}

function wireType(type: FieldType): WireType {
  return type === "string" || (typeof type === "object" && !(type instanceof Map))
    ? WireType.LengthDelimited
    : WireType.Varint;
}

function isDefault(value: unknown): boolean {
  return value === undefined || value === "" || value === 0 || value === false;
}
