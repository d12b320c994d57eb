/**
 * Principal components by orthogonal iteration on the covariance matrix (Golub and Van Loan, Matrix Computations,
 * section 8.2), in double precision: the best linear code of a given width, against which others are measured.
 */

import { RandomStream } from "../../lib/random/stream.ts";

const ITERATIONS = 30;

/** The mean squared error per element of `test`, coded by the `width` first components of `train`. Rows of `size`. */
export function linearCodeError(
  train: Float32Array,
  test: Float32Array,
  size: number,
  width: number,
): number {
  const mean = meanOf(train, size);
  const covariance = covarianceOf(train, mean);
  const basis = leadingBasis(covariance, size, width);
  let error = 0;
  const centred = new Float64Array(size);
  for (let begin = 0; begin < test.length; begin += size) {
    for (let i = 0; i < size; i++) centred[i] = test[begin + i]! - mean[i]!;
    // What the orthonormal basis does not hold of an example is its error.
    error += dot(centred, centred);
    for (const component of basis) error -= dot(centred, component) ** 2;
  }
  return error / test.length;
}

function meanOf(rows: Float32Array, size: number): Float64Array {
  const mean = new Float64Array(size);
  for (let i = 0; i < rows.length; i++) mean[i % size]! += rows[i]!;
  return mean.map((sum) => (sum * size) / rows.length);
}

/** [size, size]; skips the noughts, of which images are full. */
function covarianceOf(rows: Float32Array, mean: Float64Array): Float64Array {
  const size = mean.length;
  const count = rows.length / size;
  const products = new Float64Array(size * size);
  const at: number[] = [];
  for (let begin = 0; begin < rows.length; begin += size) {
    at.length = 0;
    for (let i = 0; i < size; i++) if (rows[begin + i] !== 0) at.push(i);
    for (const i of at) {
      const value = rows[begin + i]!;
      for (const j of at) products[i * size + j]! += value * rows[begin + j]!;
    }
  }
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      products[i * size + j] = products[i * size + j]! / count - mean[i]! * mean[j]!;
  return products;
}

function leadingBasis(matrix: Float64Array, size: number, width: number): Float64Array[] {
  const random = RandomStream.named(0, "components");
  let basis: Float64Array[] = Array.from({ length: width }, () =>
    Float64Array.from({ length: size }, () => random.uniform() - 0.5),
  );
  for (let iteration = 0; iteration < ITERATIONS; iteration++)
    basis = orthonormal(
      basis.map((vector) =>
        Float64Array.from({ length: size }, (_, i) => dot(matrix.subarray(i * size, (i + 1) * size), vector)),
      ),
    );
  return basis;
}

/** Gram and Schmidt's, each vector against those before it. */
function orthonormal(vectors: Float64Array[]): Float64Array[] {
  const done: Float64Array[] = [];
  for (const vector of vectors) {
    // Twice is enough: the second removes what rounding left of the first.
    for (let pass = 0; pass < 2; pass++)
      for (const other of done) {
        const share = dot(vector, other);
        for (let i = 0; i < vector.length; i++) vector[i]! -= share * other[i]!;
      }
    const length = Math.sqrt(dot(vector, vector));
    done.push(vector.map((value) => value / length));
  }
  return done;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
