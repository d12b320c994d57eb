/**
 * The classification extension of the Open Inference Protocol: scores become the `n` highest as BYTES,
 * "value:index" or "value:index:label", highest first. Values are printed as Triton prints them: integers in digits,
 * floats with six decimals. Equal scores keep the order of their indices; NaN counts as lowest.
 *
 * Refuses datatypes that Triton refuses (BOOL, BYTES, half precision), and amounts that would hold up the event loop.
 */

import { InvalidInputError } from "../errors.ts";
import type { Datatype, NumericArray } from "../tensor/datatype.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";

/** Triton's own bound. */
const MAX_SCORES = 1_000_000;
const MAX_CLASSES = 100_000;
const UNSCORED: readonly string[] = ["BOOL", "BYTES", "FP16", "BF16"];
/** From here on `toFixed` prints an exponent. */
const FIXED_LIMIT = 1e21;

/**
 * The classes of one output: `[batch, min(n, classes)]`, or `[min(n, classes)]` where it is not batched. All
 * dimensions after the batch count as one row of classes.
 * @param n how many classes of each row, at least 1
 * @param labels names of the classes by index; may be shorter than the row
 * @param batched whether the first dimension counts rows
 * @throws {InvalidInputError} naming the output
 */
export function classify(
  { name, datatype, shape, data }: Tensor,
  n: number,
  labels: readonly string[],
  batched = shape.length > 1,
): Tensor {
  const refuse = (received: string, expected: string): never => {
    throw new InvalidInputError({
      field: `outputs["${name}"].parameters.classification`,
      received,
      expected,
    });
  };
  if (UNSCORED.includes(datatype))
    return refuse(`an output of datatype ${datatype}`, "an output of integers, FP32 or FP64");
  const rowsFirst = batched && shape.length > 0;
  const rows = rowsFirst ? shape[0]! : 1;
  const classes = elementCount(rowsFirst ? shape.slice(1) : shape);
  const wanted = Math.min(n, classes);
  if (data.length > MAX_SCORES) refuse(`an output of ${data.length} scores`, `at most ${MAX_SCORES}`);
  if (rows * wanted > MAX_CLASSES)
    refuse(`${wanted} classes of ${rows} rows`, `at most ${MAX_CLASSES} in all`);

  const scores = data as NumericArray;
  const texts: string[] = [];
  for (let row = 0; row < rows; row++) {
    const own = scores.subarray(row * classes, (row + 1) * classes);
    for (const index of highest(own, wanted)) {
      const label = labels[index];
      texts.push(`${printScore(own[index]!, datatype)}:${index}${label ? `:${label}` : ""}`);
    }
  }
  return { name, datatype: "BYTES", shape: rowsFirst ? [rows, wanted] : [wanted], data: texts };
}

/** Indices of the `count` highest scores. The sort is the native one of typed arrays; only the winners are compared. */
function highest(scores: NumericArray, count: number): number[] {
  if (count === 0) return [];
  const keys = scores.slice();
  for (let i = 0; i < keys.length; i++) if (Number.isNaN(keys[i])) keys[i] = Number.NEGATIVE_INFINITY;
  const bound = keys.toSorted()[keys.length - count]!;
  const above: number[] = [];
  const equal: number[] = [];
  for (let i = 0; i < keys.length; i++) {
    if (keys[i]! > bound) above.push(i);
    else if (keys[i] === bound && equal.length < count) equal.push(i);
  }
  above.sort((a, b) => {
    if (keys[a] === keys[b]) return a - b;
    return keys[a]! < keys[b]! ? 1 : -1;
  });
  return [...above, ...equal].slice(0, count);
}

/** As C++'s `std::to_string`. */
function printScore(score: number | bigint, datatype: Datatype): string {
  if (typeof score === "bigint" || (datatype !== "FP32" && datatype !== "FP64")) return String(score);
  if (Number.isNaN(score)) return "nan";
  if (!Number.isFinite(score)) return score > 0 ? "inf" : "-inf";
  return Math.abs(score) < FIXED_LIMIT ? score.toFixed(6) : `${BigInt(score)}.000000`;
}
