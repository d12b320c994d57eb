/** What a format of array files has to tell: which numbers lie where. A further format is one parser of headers. */

import type { Datatype } from "../tensor/datatype.ts";

export type ArrayHeader = {
  datatype: Datatype;
  /** [rows, ...shape of one], row-major. */
  shape: number[];
  /** Where the data begins; it goes to the end of the file. */
  dataOffset: number;
};

/** @throws {DatasetCorruptError} naming the file, what it holds and what was expected */
export type HeaderParser = (file: string, start: Uint8Array) => ArrayHeader;
