/**
 * Keys of records: segments of letters, digits, "_", "-" and ".", separated by "/". Refused are empty segments,
 * "." and "..", other characters and over-long keys, so that every store can map a key to a name of its own
 * without two keys ever meeting, and values that JSON cannot hold or that would not fit in one NATS message.
 */

import { InvalidInputError } from "../errors.ts";

const SEGMENT = /^[A-Za-z0-9_.-]{1,100}$/;
const PARTIAL_SEGMENT = /^[A-Za-z0-9_.-]{0,100}$/;
const MAX_SEGMENTS = 8;

/** Largest record as JSON text: NATS' default `max_payload` of 1 MiB, less room for headers. */
export const MAX_RECORD_BYTES = 1_000_000;

/** The segments of a key. @throws {InvalidInputError} */
export function segmentsOf(key: string): string[] {
  const segments = typeof key === "string" ? key.split("/") : [];
  if (segments.length === 0 || segments.length > MAX_SEGMENTS || !segments.every(isSegment))
    throw refused("key", key, `1 to ${MAX_SEGMENTS}`);
  return segments;
}

/** A prefix as its whole segments and the beginning of the next. @throws {InvalidInputError} */
export function splitPrefix(prefix: string): { whole: string[]; partial: string } {
  const whole = typeof prefix === "string" ? prefix.split("/") : [];
  const partial = whole.pop();
  if (partial === undefined || !PARTIAL_SEGMENT.test(partial) || !whole.every(isSegment))
    throw refused("prefix", prefix, `up to ${MAX_SEGMENTS}`);
  return { whole, partial };
}

/** The JSON text of a value. @throws {InvalidInputError} when there is none, or too much of it */
export function encodeRecord(key: string, value: unknown): string {
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined)
    throw new InvalidInputError({
      field: `value of '${key}'`,
      received: typeof value,
      expected: "JSON data",
    });
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_RECORD_BYTES)
    throw new InvalidInputError({
      field: `value of '${key}'`,
      received: `${bytes} bytes of JSON`,
      expected: `at most ${MAX_RECORD_BYTES} bytes`,
    });
  return text;
}

function isSegment(segment: string): boolean {
  return SEGMENT.test(segment) && segment !== "." && segment !== "..";
}

function refused(field: string, received: unknown, count: string): InvalidInputError {
  return new InvalidInputError({
    field,
    received: JSON.stringify(received) ?? "undefined",
    expected: `${count} segments of A-Z a-z 0-9 _ . - separated by "/", each 1 to 100 characters, none "." or ".."`,
  });
}
