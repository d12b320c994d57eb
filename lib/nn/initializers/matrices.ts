/** Initialisers that make a matrix as a whole, not number by number. */

import { InvalidModelError } from "../../errors.ts";
import type { RandomStream } from "../../random/stream.ts";
import type { Initializer } from "./initializer.ts";

/** `gain` on the diagonal of a matrix, square or not. */
export function identity(gain: number, where: string): Initializer {
  return (shape) => {
    const [rows, columns, ...more] = shape;
    if (rows === undefined || columns === undefined || more.length > 0)
      return unfit(where, shape, "a matrix");
    const values = new Float32Array(rows * columns);
    for (let i = 0; i < Math.min(rows, columns); i++) values[i * columns + i] = gain;
    return values;
  };
}

/**
 * An orthogonal matrix, uniform among all of its size, times `gain` (Saxe and others 2013, arXiv:1312.6120): the
 * orthonormal factor, with a positive diagonal in the other, of a normal matrix [all axes but the last, the last].
 * Of a wide matrix the rows are orthogonal, else the columns.
 */
export function orthogonal(gain: number, where: string): Initializer {
  return (shape, _, random) => {
    const columns = shape.at(-1);
    if (columns === undefined || shape.length < 2) return unfit(where, shape, "at least two axes");
    const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
    const vectors = orthonormal(Math.min(rows, columns), Math.max(rows, columns), random);
    const values = new Float32Array(rows * columns);
    const wide = rows < columns;
    vectors.forEach((vector, i) => {
      for (let j = 0; j < vector.length; j++)
        values[wide ? i * columns + j : j * columns + i] = gain * vector[j]!;
    });
    return values;
  };
}

/** Vectors of a normal draw made orthonormal one after the other (Gram and Schmidt, modified), in double precision. */
function orthonormal(count: number, size: number, random: RandomStream): Float64Array[] {
  const vectors: Float64Array[] = [];
  for (let i = 0; i < count; i++) {
    const vector = Float64Array.from({ length: size }, () => random.normal());
    for (const other of vectors) {
      let along = 0;
      for (let j = 0; j < size; j++) along += vector[j]! * other[j]!;
      for (let j = 0; j < size; j++) vector[j]! -= along * other[j]!;
    }
    let squares = 0;
    for (const v of vector) squares += v * v;
    const length = Math.sqrt(squares);
    vectors.push(vector.map((v) => v / length));
  }
  return vectors;
}

function unfit(where: string, shape: readonly number[], expected: string): never {
  throw new InvalidModelError(where, `the weight is [${shape.join(",")}], expected ${expected}`);
}
