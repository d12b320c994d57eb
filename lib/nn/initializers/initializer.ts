/** What an initialiser is, and the fans by which some scale what they draw. */

import type { RandomStream } from "../../random/stream.ts";

/** Inputs and outputs that one unit of the weight connects (receptive field included). */
export type Fans = { fanIn: number; fanOut: number };

/** The fans Keras reads off a weight's shape: [..., in, out], with everything before as the receptive field. */
export function fansOf(shape: readonly number[]): Fans {
  if (shape.length < 2) return { fanIn: shape[0] ?? 1, fanOut: shape[0] ?? 1 };
  const receptive = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  return { fanIn: receptive * shape.at(-2)!, fanOut: receptive * shape.at(-1)! };
}

/**
 * Values of a weight of Keras's shape, row by row.
 * @throws {InvalidModelError} when there are none for such a shape
 */
export type Initializer = (shape: readonly number[], fans: Fans, random: RandomStream) => Float32Array;
