/**
 * Reads Triton's `config.pbtxt`: protobuf's text format (protobuf.dev, Text Format Language Specification), by
 * protobuf-es and the description of `inference.ModelConfig` that the table of its fields gives. Names and types are
 * Triton's; numbers are not, because nothing is read in binary. What a field does here, or that it does nothing, is
 * decided by triton-configuration.ts. Refused by name: fields that Triton does not have, values that do not fit their
 * types, and a field given twice that is not a list.
 */

import { create, createFileRegistry, type DescMessage, type JsonValue, toJson } from "@bufbuild/protobuf";
import { fromText } from "@bufbuild/protobuf/txtpb";
import {
  type DescriptorProto,
  DescriptorProtoSchema,
  type FieldDescriptorProto,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  MessageOptionsSchema,
  OneofDescriptorProtoSchema,
  FieldDescriptorProto_Type as Type,
} from "@bufbuild/protobuf/wkt";
import { errorMessage, InvalidInputError } from "../errors.ts";
import { ENUMS, type Fields, MESSAGES } from "./model-config-fields.ts";

const SCALARS: Readonly<Record<string, Type>> = {
  bool: Type.BOOL,
  double: Type.DOUBLE,
  float: Type.FLOAT,
  int32: Type.INT32,
  int64: Type.INT64,
  string: Type.STRING,
  uint32: Type.UINT32,
  uint64: Type.UINT64,
};

const PACKAGE = "inference";
const MODEL_CONFIG = describe();

/**
 * What a `config.pbtxt` says, as plain JSON: field names as they are in the file, 64-bit integers as strings, and of
 * single scalars only those that differ from Triton's default (or `max_batch_size` where it is given at all).
 * @throws {InvalidInputError} naming `field` and what of the text is wrong
 */
export function readConfigText(text: string, field: string): Record<string, JsonValue> {
  try {
    const message = fromText(MODEL_CONFIG, text);
    return toJson(MODEL_CONFIG, message, { useProtoFieldName: true }) as Record<string, JsonValue>;
  } catch (error) {
    throw new InvalidInputError({
      field,
      received: errorMessage(error),
      expected: "a model configuration in protobuf's text format",
    });
  }
}

function describe(): DescMessage {
  const file = create(FileDescriptorProtoSchema, {
    name: "model_config.proto",
    package: PACKAGE,
    syntax: "proto3",
    enumType: Object.entries(ENUMS).map(([name, values]) => ({
      name,
      value: values.map((value, number) => ({ name: value, number })),
    })),
    messageType: Object.entries(MESSAGES).map(([name, fields]) => messageOf(name, fields)),
  });
  const registry = createFileRegistry(file, () => undefined);
  return registry.getMessage(`${PACKAGE}.ModelConfig`)!;
}

function messageOf(name: string, fields: Fields): DescriptorProto {
  const message = create(DescriptorProtoSchema, { name });
  for (const [field, text] of Object.entries(fields)) {
    const [, mapKey, mapValue, single, suffix] = /^(?:map<(\w+),(\w+)>|(\w+)(\[\]|\?)?)$/.exec(text)!;
    const number = message.field.length + 1;
    const label = mapKey || suffix === "[]" ? Label.REPEATED : Label.OPTIONAL;
    if (mapKey && mapValue) {
      const entry = `${pascalCase(field)}Entry`;
      const nested = messageOf(entry, { key: mapKey, value: mapValue });
      message.nestedType.push(
        create(DescriptorProtoSchema, {
          ...nested,
          options: create(MessageOptionsSchema, { mapEntry: true }),
        }),
      );
      message.field.push(fieldOf(field, number, label, `${name}.${entry}`));
    } else if (suffix === "?") {
      // Presence, in proto3, is a oneof of one.
      const oneofIndex = message.oneofDecl.length;
      message.oneofDecl.push(create(OneofDescriptorProtoSchema, { name: `_${field}` }));
      message.field.push({ ...fieldOf(field, number, label, single!), proto3Optional: true, oneofIndex });
    } else message.field.push(fieldOf(field, number, label, single!));
  }
  return message;
}

function fieldOf(name: string, number: number, label: Label, type: string): FieldDescriptorProto {
  const scalar = SCALARS[type];
  return create(FieldDescriptorProtoSchema, {
    name,
    number,
    label,
    ...(scalar === undefined
      ? { type: Object.hasOwn(ENUMS, type) ? Type.ENUM : Type.MESSAGE, typeName: `.${PACKAGE}.${type}` }
      : { type: scalar }),
  });
}

/** What a map's entries are called: `input_map` gives `InputMap`. */
function pascalCase(field: string): string {
  return field.replace(/(^|_)(\w)/g, (_, __, letter: string) => letter.toUpperCase());
}
