/**
 * Numbers as JSON text. A float32 printed as the double it becomes in JavaScript shows 17 digits of which at
 * most 9 carry information; `shortFloat32` finds a double with 8 or 9 significant digits that rounds to the same
 * float32, so that its text is short and exact for whoever reads it back as float32.
 */

const POWERS_OF_TEN = Array.from({ length: 23 }, (_, exponent) => 10 ** exponent);

/**
 * The double with the fewest of 8 or 9 significant digits that rounds to `value`; `value` itself where that
 * cannot be had exactly (magnitudes outside 1e-14..1e7), which is longer but no less true.
 */
export function shortFloat32(value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude >= 1e-14 && magnitude < 1e7)) return value;
  // Powers of ten up to 1e22 are exact doubles, so the quotient is the double nearest to the decimal number.
  const decimals = 7 - Math.floor(Math.log10(magnitude));
  for (let digits = decimals; digits <= decimals + 1; digits++) {
    const scale = POWERS_OF_TEN[digits]!;
    const rounded = Math.round(value * scale) / scale;
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
}

/** Elements whose text is written at a time, and the most characters one takes with its comma. */
const CHUNK = 4096;
const MOST_CHARACTERS = 28;

const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;

/** How a protocol writes floats. */
export type FloatStyle = {
  /** Significant digits that are tried before 8 and 9; fewer than 8. */
  digits?: number;
  /** What follows a number without decimals. */
  whole: string;
  /** One that is very large or small, or not finite. */
  other: (value: number) => string;
};

const SHORT: FloatStyle = { whole: "", other: (value) => String(shortFloat32(value)) };

/**
 * `[…]` of a Float32Array's elements from `start` to `end`; each as `shortFloat32` has it, and finite, where no style
 * says otherwise. Digits are written one by one, ten times as fast as numbers are turned into text: long answers hold the
 * event loop by this.
 */
export function printFloat32(
  data: Float32Array,
  start = 0,
  end = data.length,
  style: FloatStyle = SHORT,
): string {
  const room = Buffer.allocUnsafe(Math.min(end - start, CHUNK) * MOST_CHARACTERS);
  let text = "[";
  for (let from = start; from < end; from += CHUNK) {
    const to = Math.min(end, from + CHUNK);
    let at = 0;
    for (let i = from; i < to; i++) {
      if (i > start) room[at++] = COMMA;
      at = writeFloat32(room, at, data[i]!, style);
    }
    text += room.toString("latin1", 0, at);
  }
  return `${text}]`;
}

/** Gives the position after it. */
function writeFloat32(room: Buffer, at: number, value: number, { digits, whole, other }: FloatStyle): number {
  const magnitude = value < 0 ? -value : value;
  // What JavaScript does not write with an exponent, and has at most 9 significant digits: an integer of 32 bits.
  if (magnitude >= 1e-6 && magnitude < 1e7) {
    const eight = decimalsOf(magnitude);
    const fewer = digits === undefined ? -1 : eight - 8 + digits;
    for (
      let decimals = fewer < 0 ? eight : fewer;
      decimals <= eight + 1;
      decimals = Math.max(decimals + 1, eight)
    ) {
      const scale = POWERS_OF_TEN[decimals]!;
      const scaled = Math.round(magnitude * scale);
      if (Math.fround(scaled / scale) !== magnitude) continue;
      if (value < 0) room[at++] = MINUS;
      return writeDecimal(room, at, scaled, decimals, whole);
    }
  }
  return at + room.write(other(value), at, "latin1");
}

/** How many decimals make 8 significant digits, of a magnitude from 1e-6 to below 1e7. */
function decimalsOf(magnitude: number): number {
  let decimals = 7;
  if (magnitude >= 1) while (magnitude >= POWERS_OF_TEN[8 - decimals]!) decimals--;
  else while (magnitude * POWERS_OF_TEN[decimals - 7]! < 1) decimals++;
  return decimals;
}

/** `scaled / 10^decimals`, without zeros at its end. */
function writeDecimal(room: Buffer, start: number, scaled: number, decimals: number, none: string): number {
  let left = scaled | 0;
  for (let tenth = (left / 10) | 0; decimals > 0 && tenth * 10 === left; tenth = (left / 10) | 0) {
    left = tenth;
    decimals--;
  }
  let digits = 1;
  for (let power = 10; power <= left; power *= 10) digits++;
  const whole = Math.max(digits - decimals, 1);
  const end = start + whole + (decimals > 0 ? 1 + decimals : 0);
  let at = end;
  for (let digit = 0; digit < decimals + whole; digit++) {
    if (digit === decimals && decimals > 0) room[--at] = POINT;
    const tenth = (left / 10) | 0;
    room[--at] = ZERO + left - tenth * 10;
    left = tenth;
  }
  return decimals === 0 && none !== "" ? end + room.write(none, end, "latin1") : end;
}

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(data: Float32Array | Float64Array): number {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return i;
  return -1;
}
