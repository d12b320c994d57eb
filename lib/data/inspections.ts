/** What the values of a column must be, looked at while its file is read. Errors name the file, the row and the field. */

import { DatasetCorruptError } from "../errors.ts";
import type { Datatype, NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { ArrayFile, Inspection } from "./array-file.ts";

export function isFloat(datatype: Datatype): boolean {
  return datatype === "FP32" || datatype === "FP64";
}

/** No NaN and no infinity: training would come to nothing. */
export function finite(array: ArrayFile, field: string): Inspection {
  return every(array, (value) => value - value === 0, `finite numbers in ${field}`);
}

/** As numbers of classes. */
export function classNumbers(array: ArrayFile, field: string, classes: number): Inspection {
  const expected = `0 to ${classes - 1}, one of the ${classes} labelNames of ${field}`;
  return every(array, (value) => value >= 0 && value < classes, expected);
}

/** How much examples count. */
export function weights(array: ArrayFile, field: string): Inspection {
  const holds = (value: number) => value >= 0 && value < Number.POSITIVE_INFINITY;
  return every(array, holds, `finite numbers from 0 on in ${field}`);
}

function every(
  { file, datatype, rowShape }: ArrayFile,
  holds: (value: number) => boolean,
  expected: string,
): Inspection {
  const refuse = (value: number | bigint, index: number): never => {
    const row = Math.floor(index / elementCount(rowShape));
    throw new DatasetCorruptError(file, { received: `${value} in row ${row}`, expected });
  };
  if (datatype === "INT64" || datatype === "UINT64")
    return (values, first) => {
      for (const [i, value] of (values as BigInt64Array).entries())
        if (!holds(Number(value))) refuse(value, first + i);
    };
  return (values: NumericArray, first) => {
    const numbers = values as Float32Array;
    for (let i = 0; i < numbers.length; i++) if (!holds(numbers[i]!)) refuse(numbers[i]!, first + i);
  };
}
