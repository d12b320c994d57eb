/**
 * Reading an object that someone has written: unknown fields, wrong types and values out of range are refused by
 * name, so that a misspelt one is not ignored in silence.
 */

import { InvalidInputError } from "../errors.ts";

export type Check = { expected: string; accepts(value: unknown): boolean };
export type Fields = Readonly<Record<string, Check>>;

export const integer = (min: number, max: number): Check => ({
  expected: `an integer from ${min} to ${max}`,
  accepts: (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
});

export const oneOf = (...allowed: readonly unknown[]): Check => ({
  expected: `one of ${allowed.join(", ")}`,
  accepts: (value) => allowed.includes(value),
});

export function within(min: number, max: number): Check["accepts"] {
  return (value) => typeof value === "number" && value >= min && value <= max;
}

/** A copy of `value`, an object whose fields are all known and in range. @throws {InvalidInputError} */
export function readFields(value: unknown, field: string, fields: Fields): Record<string, unknown> {
  const section = objectOf(value, field);
  for (const [key, item] of Object.entries(section)) {
    const { accepts, expected } = own(fields, key, field);
    if (!accepts(item)) refuse(`${field}.${key}`, item, expected);
  }
  return { ...section };
}

/** @throws {InvalidInputError} */
export function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(field, value, "an object");
  return value as Record<string, unknown>;
}

/** The entry of a table; `others` are keys that are known besides. @throws {InvalidInputError} */
export function own<T>(
  table: Readonly<Record<string, T>>,
  key: string,
  field: string,
  others: readonly string[] = [],
): T {
  if (!Object.hasOwn(table, key))
    throw new InvalidInputError({
      field: `${field}.${key}`,
      received: "a field that is not known",
      expected: `one of ${[...Object.keys(table), ...others].join(", ")}`,
    });
  return table[key]!;
}

/** From within the process, or as CBOR, a value may be what JSON has no form for. */
const shown = (_: string, value: unknown) => (typeof value === "bigint" ? `${value}n` : value);

/** @throws {InvalidInputError} always */
export function refuse(field: string, value: unknown, expected: string): never {
  throw new InvalidInputError({
    field,
    received: (JSON.stringify(value, shown) ?? "nothing").slice(0, 80),
    expected,
  });
}
