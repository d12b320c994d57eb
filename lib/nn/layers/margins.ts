/** Reads how much to crop or pad at both ends of each axis, in every form Keras takes. */

import type { ConfigReader } from "../config-reader.ts";
import type { SpatialRank } from "./spatial.ts";

export type Margins = { before: number[]; after: number[] };

/**
 * One integer for all ends; for steps a pair (begin, end); for images one entry per axis, an integer or a pair.
 */
export function readMargins(
  config: ConfigReader,
  name: string,
  rank: SpatialRank,
  fallback: number,
): Margins {
  const value = config.raw(name) ?? fallback;
  const perAxis: unknown =
    typeof value === "number" ? new Array(rank).fill(value) : rank === 1 ? [value] : value;
  const pairs = Array.isArray(perAxis) && perAxis.length === rank ? perAxis.map(pairOf) : [];
  if (pairs.length === 0 || pairs.includes(undefined))
    return config.refuse(
      name,
      value,
      `an integer of at least 0${rank === 1 ? " or a pair" : ", a pair or a pair of pairs"} of them`,
    );
  const ends = pairs as [number, number][];
  return { before: ends.map(([before]) => before), after: ends.map(([, after]) => after) };
}

function pairOf(value: unknown): [number, number] | undefined {
  const pair: unknown = typeof value === "number" ? [value, value] : value;
  const fits =
    Array.isArray(pair) && pair.length === 2 && pair.every((v) => Number.isSafeInteger(v) && v >= 0);
  return fits ? (pair as [number, number]) : undefined;
}
