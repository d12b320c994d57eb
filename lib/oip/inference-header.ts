/**
 * The header that says how many bytes of a body are JSON, the rest being binary data (Open Inference Protocol, binary
 * tensor extension). Absent: all of it; 0: none, the body is one input.
 */

import { InvalidInputError } from "../errors.ts";

export const INFERENCE_HEADER = "Inference-Header-Content-Length";

const DIGITS = /^\d{1,15}$/;

/** @throws {InvalidInputError} for anything but digits */
export function readHeaderBytes(value: string | string[] | undefined): number | undefined {
  if (value === undefined) return undefined;
  const text = String(value).trim();
  if (!DIGITS.test(text)) throw headerFault(text, "a number of bytes");
  return Number(text);
}

/** @throws {InvalidInputError} when the header promises more than has come */
export function assertWithin(headerBytes: number, bodyBytes: number): void {
  if (headerBytes > bodyBytes)
    throw headerFault(String(headerBytes), `at most ${bodyBytes}, the length of the body`);
}

function headerFault(received: string, expected: string): InvalidInputError {
  return new InvalidInputError({
    field: `header ${INFERENCE_HEADER}`,
    received: JSON.stringify(received.slice(0, 40)),
    expected,
  });
}
