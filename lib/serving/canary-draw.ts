/**
 * Whether a request goes to the canary. With an affinity key the draw is a hash of the model, the canary's version and
 * the key: the same on every node and at every time, and a key that is in at one weight stays in at a greater one.
 */

import { hash } from "node:crypto";

const DRAW_BYTES = 6;

export type Drawn = { model: string; version: number; weight: number };

/** @param random gives 0 to below 1; asked only where there is no key */
export function drawsCanary(
  { model, version, weight }: Drawn,
  affinity: string | undefined,
  random: () => number,
): boolean {
  if (weight >= 1) return true;
  return (affinity === undefined ? random() : drawOf(model, version, affinity)) < weight;
}

/** 0 to below 1. Neither models nor versions have a line break in their names. */
function drawOf(model: string, version: number, affinity: string): number {
  const digest = hash("sha256", `${model}\n${version}\n${affinity}`, "buffer");
  return digest.readUIntBE(0, DRAW_BYTES) / 2 ** (8 * DRAW_BYTES);
}
