/**
 * TensorFlow Serving REST: a `PredictResponse` as `{"predictions": …}` for rows or `{"outputs": …}` for columns. The
 * name of a model's only output is left out. Rows need outputs that all count the same rows first; where they do not,
 * the caller is told to ask in columns.
 */

import { InvalidInputError } from "../errors.ts";
import type { PredictResponse } from "../protocol/inference.ts";
import { formatShape, type Tensor } from "../tensor/tensor.ts";
import type { Format } from "./predict-request.ts";
import { TensorPrinter } from "./value-text.ts";

/** @throws {InvalidInputError} for outputs that the format, or JSON, cannot carry */
export function printPredictResponse({ outputs }: PredictResponse, format: Format): string {
  return format === "rows" ? printRows(outputs) : printColumns(outputs);
}

function printRows(outputs: readonly Tensor[]): string {
  const rows = rowsOf(outputs);
  const printers = outputs.map((tensor) => new TensorPrinter(tensor, 1));
  const keys = keysOf(outputs);
  let text = '{"predictions":[';
  for (let row = 0; row < rows; row++) text += `${row === 0 ? "" : ","}${printed(printers, keys)}`;
  return `${text}]}`;
}

function printColumns(outputs: readonly Tensor[]): string {
  const printers = outputs.map((tensor) => new TensorPrinter(tensor, 0));
  return `{"outputs":${printed(printers, keysOf(outputs))}}`;
}

/** What comes next of each tensor: as it is, or an object when there are several. */
function printed(printers: readonly TensorPrinter[], keys: readonly string[]): string {
  if (printers.length === 1) return printers[0]!.next();
  return `{${printers.map((printer, i) => `${keys[i]}:${printer.next()}`).join(",")}}`;
}

function keysOf(outputs: readonly Tensor[]): string[] {
  return outputs.map(({ name }) => JSON.stringify(name));
}

function rowsOf(outputs: readonly Tensor[]): number {
  const rows = outputs[0]?.shape[0];
  if (rows !== undefined && outputs.every(({ shape }) => shape[0] === rows)) return rows;
  throw new InvalidInputError({
    field: "instances",
    received: `a model whose outputs are ${outputs.map(({ name, shape }) => name + formatShape(shape)).join(", ")}`,
    expected: "outputs that all have the same number of rows; ask with 'inputs', in columns",
  });
}
