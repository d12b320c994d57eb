/**
 * What a training request may be made of: a job is a JSON record, read again by whoever claims it, so what JSON would
 * change (numbers that are not finite) or cannot hold is refused, and so is what lies too deep for those who walk it.
 */

import { InvalidInputError } from "../errors.ts";

/** Models lie at most 32 deep, each some levels below the one around it. */
const MAX_DEPTH = 512;

/** @throws {InvalidInputError} naming the first field that is not plain data */
export function assertPlainData(value: unknown, field: string): void {
  const waiting = [{ value, field, depth: 0 }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { depth } = next;
    const inner = innerOf(next.value, next.field);
    if (inner.length > 0 && depth === MAX_DEPTH)
      refuse(field, `data more than ${MAX_DEPTH} levels deep`, `at most ${MAX_DEPTH} levels`);
    for (const [name, of] of inner.toReversed()) waiting.push({ value: of, field: name, depth: depth + 1 });
  }
}

/** What lies in a value, each with its field. */
function innerOf(value: unknown, field: string): (readonly [string, unknown])[] {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return [];
    case "number":
      return Number.isFinite(value) ? [] : refuse(field, String(value), "a finite number");
    case "object":
      if (value === null) return [];
      if (Array.isArray(value)) return value.map((of, i) => [`${field}[${i}]`, of] as const);
      if (Object.prototype.toString.call(value) === "[object Object]")
        return Object.entries(value).map(([name, of]) => [`${field}.${name}`, of] as const);
      return refuse(field, Object.prototype.toString.call(value).slice("[object ".length, -1), "JSON data");
    default:
      return refuse(field, typeof value === "bigint" ? `${value}n` : typeof value, "JSON data");
  }
}

function refuse(field: string, received: string, expected: string): never {
  throw new InvalidInputError({ field: field.slice(-200), received, expected });
}
