/**
 * The affinity key of a prediction: requests with equal keys go to one node while it lives. Any text of bounded length
 * that can be printed; it is compared, hashed and forgotten.
 */

import { InvalidInputError } from "../errors.ts";

const MAX_CHARACTERS = 256;
const UNPRINTABLE = /\p{C}/u;

/** @throws {InvalidInputError} */
export function readAffinity(value: unknown, field: string): string {
  if (
    typeof value === "string" &&
    value.length > 0 &&
    value.length <= MAX_CHARACTERS &&
    !UNPRINTABLE.test(value)
  )
    return value;
  throw new InvalidInputError({
    field,
    received: described(value),
    expected: `1 to ${MAX_CHARACTERS} printable characters`,
  });
}

function described(value: unknown): string {
  if (typeof value !== "string") return value === null ? "null" : typeof value;
  return value.length > MAX_CHARACTERS ? `${value.length} characters` : JSON.stringify(value);
}
