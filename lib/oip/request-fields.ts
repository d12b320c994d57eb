/**
 * Fields of an Open Inference Protocol request, each read from an unknown JSON value. Every refusal names the field,
 * what came and what was expected, and is of bounded length whatever came.
 */

import { InvalidInputError } from "../errors.ts";
import { asObject, describeJson } from "../http/json-body.ts";
import { DATATYPES, type Datatype, isDatatype } from "../tensor/datatype.ts";

export type Parameters = Record<string, string | number | boolean>;

/** Deeper shapes than this are a mistake or an attack. */
const MAX_RANK = 32;
const MAX_NAME_CHARACTERS = 1024;

export function readArray(value: unknown, field: string, expected: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new InvalidInputError({ field, received: describeJson(value), expected });
  return value;
}

export function readName(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "" || value.length > MAX_NAME_CHARACTERS)
    throw new InvalidInputError({
      field,
      received: describeJson(value),
      expected: `a string of 1 to ${MAX_NAME_CHARACTERS} characters`,
    });
  return value;
}

export function readId(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string")
    throw new InvalidInputError({ field: "id", received: describeJson(value), expected: "a string" });
  return value;
}

export function readDatatype(value: unknown, field: string): Datatype {
  if (!isDatatype(value))
    throw new InvalidInputError({
      field,
      received: describeJson(value),
      expected: `one of ${DATATYPES.join(", ")}`,
    });
  return value;
}

export function readShape(value: unknown, field: string): number[] {
  if (
    !Array.isArray(value) ||
    value.length > MAX_RANK ||
    !value.every((size) => Number.isSafeInteger(size) && size >= 0)
  )
    throw new InvalidInputError({
      field,
      received: (JSON.stringify(value) ?? "nothing").slice(0, 80),
      expected: `an array of at most ${MAX_RANK} non-negative integers`,
    });
  return value as number[];
}

/** An absent object is one without parameters. */
export function readParameters(value: unknown, field: string): Parameters {
  if (value === undefined) return {};
  const parameters = asObject(value, field);
  for (const [name, item] of Object.entries(parameters))
    if (typeof item !== "string" && typeof item !== "number" && typeof item !== "boolean")
      throw new InvalidInputError({
        field: `${field}.${name.slice(0, MAX_NAME_CHARACTERS)}`,
        received: describeJson(item),
        expected: "a string, number or boolean",
      });
  return parameters as Parameters;
}

export function readBoolean(value: unknown, field: string): boolean {
  if (typeof value !== "boolean")
    throw new InvalidInputError({ field, received: describeJson(value), expected: "true or false" });
  return value;
}

export function readCount(value: unknown, field: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new InvalidInputError({
      field,
      received: describeJson(value),
      expected: "an integer of at least 0",
    });
  return value as number;
}
