/**
 * Examples as columns: what a network is fed and what it is compared with, row by row. A column is read in any order
 * of rows and need not lie in memory, so that a data set may be larger than it.
 */

import { RandomStream } from "../random/stream.ts";
import { allocate, type Datatype, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";

export type ColumnSpec = {
  name: string;
  /** Shape of one example, without the batch dimension. */
  shape: number[];
  datatype: Datatype;
};

export type Column = ColumnSpec & {
  /** Copies the given rows into `into`, one after another from its beginning. `into` has the column's datatype. */
  gather(rows: Uint32Array, into: NumericArray): void;
};

/** What an output is compared with. */
export type TargetSpec = ColumnSpec & {
  /** The values are numbers of these classes, one for every [..., classes] of the output; undefined: plain values. */
  labelNames?: string[];
};

export type Target = TargetSpec & Column;

/** What examples look like, without them. */
export type ExamplesSpec = {
  inputs: readonly ColumnSpec[];
  targets: readonly TargetSpec[];
  /** How much each example counts, FP32 []; undefined: all the same. */
  weights?: ColumnSpec;
};

export type Examples = { count: number; inputs: Column[]; targets: Target[]; weights?: Column };

export type Dataset = {
  name: string;
  /** sha256 over every file read, in a fixed order. */
  digest: string;
  train: Examples;
  test: Examples;
  /** Closes the files that columns read from. */
  close(): Promise<void>;
};

/** A column in memory. `data` is [count, ...shape], row-major. */
export function memoryColumn<C extends ColumnSpec>(column: C, data: NumericArray): C & Column {
  const size = elementCount(column.shape);
  return {
    ...column,
    gather(rows, into) {
      // One static type for the copies; source and target are of the same kind.
      const [from, to] = [data as Float32Array, into as Float32Array];
      for (let i = 0; i < rows.length; i++) {
        const begin = rows[i]! * size;
        if (size === 1) to[i] = from[begin]!;
        else to.set(from.subarray(begin, begin + size), i * size);
      }
    },
  };
}

/** The given rows of a column in an array of their own: [rows.length, ...shape]. */
export function rowsOf(column: Column, rows: Uint32Array): NumericArray {
  const values = allocate(column.datatype, rows.length * elementCount(column.shape)) as NumericArray;
  column.gather(rows, values);
  return values;
}

/** Rows `from` to below `to`. */
export function rowRange(from: number, to: number): Uint32Array {
  return Uint32Array.from({ length: to - from }, (_, i) => from + i);
}

/** The first `limit` examples. */
export function firstExamples(examples: Examples, limit: number | undefined): Examples {
  return limit === undefined || limit >= examples.count ? examples : { ...examples, count: limit };
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
  const rows = rowRange(0, count);
  if (validationShare === 0) return { train: rows, validation: new Uint32Array(0) };
  RandomStream.named(seed, "split").shuffle(rows);
  const held = Math.min(count - 1, Math.max(1, Math.round(count * validationShare)));
  return { validation: rows.slice(0, held).sort(), train: rows.slice(held).sort() };
}
