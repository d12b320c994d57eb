/** A declared value as errors show it. */

/** Longer than any value worth reading in a message. */
const MAX_CHARACTERS = 200;

/**
 * JSON, cut short. NaN, infinities and big integers, which arrive over CBOR and have no JSON, by their names; what is
 * nested too deeply to be written, by its kind alone.
 */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  let text: string;
  try {
    text = JSON.stringify(value) ?? typeof value;
  } catch {
    return Array.isArray(value) ? "a list beyond measure" : `${typeof value} beyond measure`;
  }
  return text.length > MAX_CHARACTERS ? `${text.slice(0, MAX_CHARACTERS)}…` : text;
}
