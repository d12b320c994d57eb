/**
 * A request body as JSON. Empty, truncated and non-JSON bodies are refused with the position of the fault, which
 * V8 leaves out of some of its messages; there it is found by bisection, in small bodies only, so that a large
 * broken body cannot buy time on the event loop. What is nested deeper than 100 levels is refused before it is parsed:
 * whoever walks the value may do so by recursion.
 */

import { errorMessage, InvalidInputError, MalformedBodyError } from "../errors.ts";
import { NumberRow } from "./number-rows.ts";

/** Largest text, in characters, that is parsed again to find the position of a fault. */
const MAX_BISECTED_CHARACTERS = 64 * 1024;

const BYTE_ORDER_MARK = 0xfeff;

const MAX_DEPTH = 100;

/** The text of a body, without a byte order mark. @throws {MalformedBodyError} when it is empty */
export function bodyText(body: Buffer): string {
  const text = body.toString("utf8");
  if (text.trim() === "") throw new MalformedBodyError("it is empty; JSON is expected");
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text;
}

/** @throws {MalformedBodyError} saying what is wrong and where */
export function parseJson(text: string): unknown {
  assertShallow(text);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new MalformedBodyError(describeFault(text, errorMessage(error)));
  }
}

/** A body that must be a JSON object. @throws {MalformedBodyError} {InvalidInputError} */
export function parseJsonObject(body: Buffer): Record<string, unknown> {
  return asObject(parseJson(bodyText(body)), "body");
}

/** @throws {InvalidInputError} when `value` is not a JSON object */
export function asObject(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidInputError({ field, received: describeJson(value), expected: "a JSON object" });
  return value as Record<string, unknown>;
}

/** A short description of any JSON value, for error messages. */
export function describeJson(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value) || value instanceof NumberRow)
    return value.length === 1 ? "an array of 1 element" : `an array of ${value.length} elements`;
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return String(value);
}

/** Text with no more brackets than levels needs no walk: that is nearly all there is. */
function assertShallow(text: string): void {
  if (opens(text, "[") + opens(text, "{") <= MAX_DEPTH) return;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > MAX_DEPTH)
          throw new MalformedBodyError(
            `JSON is nested deeper than the limit of ${MAX_DEPTH} levels, at position ${at}`,
          );
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
}

/** How many times `bracket` is there; counting stops where a walk is needed anyway. */
function opens(text: string, bracket: string): number {
  let count = 0;
  for (let at = text.indexOf(bracket); at >= 0 && count <= MAX_DEPTH; at = text.indexOf(bracket, at + 1))
    count++;
  return count;
}

/** Position of the quote that closes the string opened at `start`; of the end of the text without one. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === 0x5c) escapes++;
    if (escapes % 2 === 0) return at;
  }
  return text.length;
}

function describeFault(text: string, message: string): string {
  if (message.startsWith("Unexpected end"))
    return `JSON ends too early, at position ${text.length}: it is truncated`;
  if (/ at position \d+/.test(message)) return `not JSON: ${message}`;
  const position = positionOfUnexpectedToken(text);
  return `not JSON: ${message}${position === undefined ? "" : `, at position ${position}`}`;
}

/** The shortest prefix that V8 refuses for an unexpected token ends with that token. */
function positionOfUnexpectedToken(text: string): number | undefined {
  if (text.length > MAX_BISECTED_CHARACTERS) return undefined;
  let accepted = 0;
  let refused = text.length;
  while (refused - accepted > 1) {
    const middle = (accepted + refused) >> 1;
    if (hasUnexpectedToken(text.slice(0, middle))) refused = middle;
    else accepted = middle;
  }
  return refused - 1;
}

function hasUnexpectedToken(text: string): boolean {
  try {
    JSON.parse(text);
    return false;
  } catch (error) {
    return errorMessage(error).startsWith("Unexpected token");
  }
}
