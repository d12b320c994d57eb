/**
 * The answer of Triton's generate extension: the outputs by name, flat, those of one element as that element. As one
 * event of a stream it is the same.
 */

import type { PredictResponse } from "../protocol/inference.ts";
import { elementCount } from "../tensor/tensor.ts";
import { printData } from "./infer-response.ts";

export const EVENT_STREAM_TYPE = "text/event-stream; charset=utf-8";

/** @throws {ExecutionError} for NaN or Infinity {InvalidInputError} for a datatype without a JSON form */
export function printGenerateResponse(response: PredictResponse, id?: string): string {
  const { model, version, outputs } = response;
  const members = id === undefined ? [] : [`"id":${JSON.stringify(id)}`];
  members.push(`"model_name":${JSON.stringify(model)}`, `"model_version":${JSON.stringify(version)}`);
  for (const output of outputs) {
    const values = printData(output, response);
    const value = elementCount(output.shape) === 1 ? values.slice(1, -1) : values;
    members.push(`${JSON.stringify(output.name)}:${value}`);
  }
  return `{${members.join(",")}}`;
}

/** @param json without line feeds */
export function printEvent(json: string): string {
  return `data: ${json}\n\n`;
}
