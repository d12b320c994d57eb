/**
 * Rows of numbers cut out of a JSON body before it is parsed. The tensors of an inference request are thousands of
 * numbers in little else; `JSON.parse` boxes each, three times slower than they are read here. What is left of the body
 * is parsed as ever, with a mark in the place of each row.
 *
 * A row is taken for one only if it is plain: after the key, flat, at least `SHORTEST_ROW` numbers of at most 15 digits.
 * Those are computed exactly (a product or quotient of two exact doubles is rounded once: Clinger, "How to Read
 * Floating Point Numbers Accurately", 1990). The rest is left to `JSON.parse`, and so is every error. The key may be
 * found where it is no key, inside of a string: then a mark stands where nobody looks for one, and whoever reads the
 * value must find that not all rows were asked for and parse the whole body instead.
 */

import { randomBytes } from "node:crypto";

/** Numbers that were written side by side. Valid until the next body is cut. */
export class NumberRow {
  readonly values: Float64Array;

  constructor(values: Float64Array) {
    this.values = values;
  }

  get length(): number {
    return this.values.length;
  }
}

/** A body without its rows. */
export class CutBody {
  /** JSON, with marks. */
  readonly text: string;
  readonly #rows: readonly NumberRow[];
  #taken = 0;

  constructor(text: string, rows: readonly NumberRow[]) {
    this.text = text;
    this.#rows = rows;
  }

  /** The row that `value` is the mark of; else `value`. Rows are asked for once each, in their order. */
  row(value: unknown): unknown {
    return value === markOf(this.#taken) ? this.#rows[this.#taken++] : value;
  }

  /** Whether each row has been asked for. */
  get complete(): boolean {
    return this.#taken === this.#rows.length;
  }
}

const SHORTEST_ROW = 16;
/** Rows in one body; further ones are parsed. */
const MOST_ROWS = 64;
const MOST_DIGITS = 15;
/** Nine digits fit an integer of 32 bits. */
const SMALL_DIGITS = 9;
/** Powers of ten that are exact as doubles. */
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const FIRST_ROOM = 4096;
/** A larger room is given back after use. */
const MOST_KEPT = 1 << 16;

const COMMA = 0x2c;
const MINUS = 0x2d;
const PLUS = 0x2b;
const POINT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const LOWER_E = 0x65;

/** Nobody outside can write a mark. */
const MARK = randomBytes(12).toString("hex");
const MARKS = Array.from({ length: MOST_ROWS }, (_, row) => `${MARK}${row}`);

let room = new Float64Array(FIRST_ROOM);
/** How much of the room is taken, and where the row that was read last ended in the body. */
let used = 0;
let end = 0;

/**
 * @param key of the members that hold rows
 * @returns undefined when there is none
 */
export function cutRows(body: Buffer, key: string): CutBody | undefined {
  const quoted = `"${key}"`;
  const rows: NumberRow[] = [];
  let text = "";
  let kept = 0;
  used = 0;
  if (room.length > MOST_KEPT) room = new Float64Array(FIRST_ROOM);
  for (
    let at = body.indexOf(quoted);
    at >= 0 && rows.length < MOST_ROWS;
    at = body.indexOf(quoted, Math.max(end, at + quoted.length))
  ) {
    const open = openingAfter(body, at + quoted.length);
    end = 0;
    if (open < 0) continue;
    const from = used;
    if (!readRow(body, open + 1) || used - from < SHORTEST_ROW) {
      used = from;
      end = 0;
      continue;
    }
    text += `${body.toString("utf8", kept, open)}"${MARKS[rows.length]}"`;
    kept = end;
    rows.push(new NumberRow(room.subarray(from, used)));
  }
  if (rows.length === 0) return undefined;
  return new CutBody(text + body.toString("utf8", kept), rows);
}

function markOf(row: number): string | undefined {
  return MARKS[row];
}

/** Position of the bracket after a colon; -1 when something else is there. */
function openingAfter(bytes: Buffer, from: number): number {
  const colon = skipSpace(bytes, from);
  if (bytes[colon] !== COLON) return -1;
  const open = skipSpace(bytes, colon + 1);
  return bytes[open] === OPEN ? open : -1;
}

/**
 * Reads numbers up to the closing bracket into the room and sets `used` and `end`; false when they are not plain. Past
 * the last byte there is `undefined`, which is no digit and no bracket.
 */
function readRow(bytes: Buffer, from: number): boolean {
  let at = skipSpace(bytes, from);
  let numbers = room;
  let capacity = numbers.length;
  let count = used;
  for (;;) {
    if (count === capacity) {
      numbers = grow();
      capacity = numbers.length;
    }
    // Whole numbers, such as pixels, in integers.
    const first = at;
    const leading = (bytes[at]! - ZERO) | 0;
    let byte = leading + ZERO;
    let value = 0;
    for (let digit = leading; digit >>> 0 <= 9; digit = (byte - ZERO) | 0) {
      value = (Math.imul(value, 10) + digit) | 0;
      byte = bytes[++at]! | 0;
    }
    const digits = at - first;
    if (digits === 1 || (digits > 1 && digits <= SMALL_DIGITS && leading !== 0)) {
      if (byte === COMMA) {
        numbers[count++] = value;
        at++;
        continue;
      }
      if (byte === CLOSE) {
        numbers[count++] = value;
        break;
      }
    }
    at = readNumber(bytes, skipSpace(bytes, first), numbers, count++);
    if (at < 0) return false;
    at = skipSpace(bytes, at);
    if (bytes[at] === CLOSE) break;
    if (bytes[at] !== COMMA) return false;
    at++;
  }
  used = count;
  end = at + 1;
  return true;
}

/** Any number that is plain, into its place; the position after it, or -1. */
function readNumber(bytes: Buffer, from: number, numbers: Float64Array, place: number): number {
  let at = from;
  const negative = bytes[at] === MINUS;
  if (negative) at++;
  let mantissa = 0;
  let digits = 0;
  let exponent = 0;
  if (bytes[at] === ZERO) at++;
  else {
    const start = at;
    for (; isDigit(bytes[at]); at++) mantissa = mantissa * 10 + (bytes[at]! - ZERO);
    digits = at - start;
    if (digits === 0) return -1;
  }
  if (bytes[at] === POINT) {
    const start = ++at;
    for (; isDigit(bytes[at]); at++) {
      mantissa = mantissa * 10 + (bytes[at]! - ZERO);
      if (mantissa > 0) digits++;
    }
    exponent = start - at;
    if (exponent === 0) return -1;
  }
  if ((bytes[at]! | 0x20) === LOWER_E) {
    at++;
    const down = bytes[at] === MINUS;
    if (down || bytes[at] === PLUS) at++;
    const start = at;
    let written = 0;
    for (; isDigit(bytes[at]); at++) written = written * 10 + (bytes[at]! - ZERO);
    if (at === start) return -1;
    exponent += down ? -written : written;
  }
  if (digits > MOST_DIGITS || exponent > 22 || exponent < -22) return -1;
  if (exponent < 0) mantissa /= POWERS_OF_TEN[-exponent]!;
  else if (exponent > 0) mantissa *= POWERS_OF_TEN[exponent]!;
  numbers[place] = negative ? -mantissa : mantissa;
  return at;
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from;
  for (let byte = bytes[at]; byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09; )
    byte = bytes[++at];
  return at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= ZERO + 9;
}

/** Rows read before keep the room they lie in. */
function grow(): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(room.length * 2);
  larger.set(room);
  room = larger;
  return larger;
}
