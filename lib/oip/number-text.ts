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

/** `[…]` of a Float32Array's elements from `start` to `end`. Elements must be finite. */
export function printFloat32(data: Float32Array, start = 0, end = data.length): string {
  let text = "[";
  for (let i = start; i < end; i++)
    text += i === start ? shortFloat32(data[i]!) : `,${shortFloat32(data[i]!)}`;
  return `${text}]`;
}

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(data: Float32Array | Float64Array): number {
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return i;
  return -1;
}
