/**
 * One array in a file, its rows along the first axis. It is looked through once, in pieces, for its digest and its
 * values, and is kept in memory or read again row by row: a column of it gives the same bytes either way.
 */

import type { Hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DatasetCorruptError, DatasetNotFoundError, errorMessage } from "../errors.ts";
import { allocate, type Datatype, elementBytes, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { HeaderParser } from "./array-format.ts";
import { type Column, memoryColumn } from "./examples.ts";
import { parseIdxHeader } from "./idx.ts";
import { NPY_HEADER_BYTES, parseNpyHeader } from "./npy.ts";

/** Looks at a piece of the values; `first` is the index of its first. */
export type Inspection = (values: NumericArray, first: number) => void;

/** A multiple of every element's size. */
const PIECE_BYTES = 4 * 2 ** 20;

export class ArrayFile {
  readonly file: string;
  readonly datatype: Datatype;
  readonly rows: number;
  /** Shape of one row. */
  readonly rowShape: number[];
  /** Of the data, without its header. */
  readonly byteLength: number;
  private readonly dataOffset: number;
  /** Undefined once closed, and for a file that was inflated. */
  private descriptor: number | undefined;
  private inflated: { raw: Uint8Array; content: Uint8Array } | undefined;
  private data: NumericArray | undefined;

  /** Opens the file and reads its header. @throws {DatasetNotFoundError} {DatasetCorruptError} */
  constructor(dataset: string, file: string) {
    this.file = file;
    try {
      // A pipe would be waited for, a folder opened.
      if (!statSync(file).isFile())
        throw new DatasetCorruptError(file, { received: "no file of data", expected: "one" });
      if (file.endsWith(".gz")) this.inflated = inflate(file, readFileSync(file));
      else this.descriptor = openSync(file, "r");
    } catch (error) {
      if (error instanceof DatasetCorruptError) throw error;
      throw new DatasetNotFoundError(dataset, errorMessage(error));
    }
    try {
      const size = this.inflated?.content.length ?? fstatSync(this.descriptor!).size;
      const start = new Uint8Array(Math.min(size, NPY_HEADER_BYTES));
      this.read(start, 0);
      const parse: HeaderParser = file.endsWith(".npy") ? parseNpyHeader : parseIdxHeader;
      const { datatype, shape, dataOffset } = parse(file, start);
      this.byteLength = elementCount(shape) * elementBytes(datatype);
      if (size !== dataOffset + this.byteLength)
        throw new DatasetCorruptError(file, {
          received: `${size} bytes`,
          expected: `${dataOffset + this.byteLength} bytes for shape [${shape.join(",")}] of ${datatype}`,
        });
      const [rows, ...rowShape] = shape;
      if (rows === undefined)
        throw new DatasetCorruptError(file, { received: "a single number", expected: "an array of rows" });
      this.datatype = datatype;
      this.rows = rows;
      this.rowShape = rowShape;
      this.dataOffset = dataOffset;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Reads it once from beginning to end, and keeps it in memory if asked to. @throws {DatasetCorruptError} */
  load(hash: Hash, keep: boolean, inspections: readonly Inspection[]): void {
    const size = elementBytes(this.datatype);
    const elements = this.byteLength / size;
    const whole = keep || this.inflated !== undefined;
    const buffer = allocate(
      this.datatype,
      whole ? elements : Math.min(elements, PIECE_BYTES / size),
    ) as NumericArray;
    if (this.inflated) hash.update(this.inflated.raw);
    else hash.update(this.read(new Uint8Array(this.dataOffset), 0));
    for (let first = 0; first < elements; first += PIECE_BYTES / size) {
      const begin = whole ? first : 0;
      const values = buffer.subarray(begin, begin + Math.min(PIECE_BYTES / size, elements - first));
      const bytes = this.read(bytesOf(values), this.dataOffset + first * size);
      if (!this.inflated) hash.update(bytes);
      for (const inspect of inspections) inspect(values, first);
    }
    if (!whole) return;
    this.data = buffer;
    this.inflated = undefined;
    this.close();
  }

  /** Rows `from` to below `to`, as a column of `shape` (which has as many elements as a row). */
  column(name: string, from = 0, to = this.rows, shape = this.rowShape): Column {
    const size = elementCount(shape);
    const column = { name, shape, datatype: this.datatype };
    if (this.data) return memoryColumn(column, this.data.subarray(from * size, to * size));
    const rowBytes = size * elementBytes(this.datatype);
    return {
      ...column,
      gather: (rows, into) => {
        const target = bytesOf(into);
        // Rows that lie one after another come with one call.
        for (let i = 0, next = 1; i < rows.length; i = next, next++) {
          while (next < rows.length && rows[next] === rows[next - 1]! + 1) next++;
          const bytes = target.subarray(i * rowBytes, next * rowBytes);
          this.read(bytes, this.dataOffset + (from + rows[i]!) * rowBytes);
        }
      },
    };
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor);
    this.descriptor = undefined;
  }

  /** Fills `into` from a position of the file. */
  private read(into: Uint8Array, position: number): Uint8Array {
    if (this.inflated) {
      into.set(this.inflated.content.subarray(position, position + into.length));
      return into;
    }
    if (this.descriptor === undefined) throw new DatasetNotFoundError(this.file, "it was closed");
    for (let at = 0; at < into.length; ) {
      const count = readSync(this.descriptor, into, at, into.length - at, position + at);
      if (count === 0)
        throw new DatasetCorruptError(this.file, {
          received: `an end at byte ${position + at}`,
          expected: "what its header says; it became shorter while it was read",
        });
      at += count;
    }
    return into;
  }
}

function bytesOf(values: NumericArray): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function inflate(file: string, raw: Uint8Array): { raw: Uint8Array; content: Uint8Array } {
  try {
    return { raw, content: gunzipSync(raw) };
  } catch (error) {
    throw new DatasetCorruptError(file, { received: errorMessage(error), expected: "gzip data" });
  }
}
