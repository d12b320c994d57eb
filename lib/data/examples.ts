/** Labelled examples in memory: features row by row in one typed array, one class number per row. */

import { RandomStream } from "../random/stream.ts";
import type { Datatype, NumericArray } from "../tensor/datatype.ts";

export type Examples = {
  count: number;
  /** Shape of one example, without the batch dimension. */
  featureShape: number[];
  featureType: Datatype;
  /** [count, ...featureShape], row-major. */
  features: NumericArray;
  /** [count], each in [0, labelNames.length). */
  labels: Uint8Array;
};

export type Dataset = {
  name: string;
  /** sha256 over every file read, in a fixed order. */
  digest: string;
  labelNames: string[];
  train: Examples;
  test: Examples;
};

/** The first `limit` examples; a view, not a copy. */
export function firstExamples(examples: Examples, limit: number | undefined): Examples {
  if (limit === undefined || limit >= examples.count) return examples;
  const size = examples.features.length / examples.count;
  return {
    ...examples,
    count: limit,
    features: examples.features.subarray(0, limit * size),
    labels: examples.labels.subarray(0, limit),
  };
}

/**
 * A name for each class a classifier tells apart, two if it has one output: the data's own, then numbers for those
 * the data does not have.
 */
export function classNames(labelNames: readonly string[], outputs: number): string[] {
  return Array.from({ length: Math.max(outputs, 2) }, (_, k) => labelNames[k] ?? String(k));
}

/** Which rows train and which validate: a shuffled split drawn from the run's split stream. */
export function splitRows(
  count: number,
  validationShare: number,
  seed: number,
): { train: Uint32Array; validation: Uint32Array } {
  const rows = Uint32Array.from({ length: count }, (_, i) => i);
  if (validationShare === 0) return { train: rows, validation: new Uint32Array(0) };
  RandomStream.named(seed, "split").shuffle(rows);
  const held = Math.min(count - 1, Math.max(1, Math.round(count * validationShare)));
  return { validation: rows.slice(0, held).sort(), train: rows.slice(held).sort() };
}
