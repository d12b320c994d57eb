/**
 * The parameters of a whole infer request, over HTTP or gRPC. Understood: `priority` and `timeout` (microseconds) of
 * the schedule policy, `cache: false` (neither read nor write the prediction cache), and `sequence_id` of the sequence
 * extension, which keeps a sequence on one node; where it starts and ends is accepted and passed over, for no model keeps
 * state between requests. Names that begin with `triton_` are reserved and refused, as Triton does; others mean nothing
 * here, as the protocol allows.
 */

import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import { readAffinity } from "../protocol/affinity.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import { type Parameters, readBoolean, readCount } from "./request-fields.ts";

/** In the protocol's `timeout`. */
const MICROSECONDS_PER_MS = 1000;

/** Sets what the parameters say. @throws {InvalidInputError} */
export function applyParameters(request: PredictRequest, parameters: Parameters): void {
  const { cache, priority, timeout, sequence_id, sequence_start, sequence_end } = parameters;
  if (cache !== undefined) request.cache = readBoolean(cache, "parameters.cache");
  if (priority !== undefined) request.priority = readCount(priority, "parameters.priority");
  if (timeout !== undefined) {
    const timeoutMs = readCount(timeout, "parameters.timeout") / MICROSECONDS_PER_MS;
    if (timeoutMs > 0) request.timeoutMs = timeoutMs;
  }
  if (sequence_id !== undefined) applySequence(request, sequence_id);
  if (sequence_start !== undefined) readBoolean(sequence_start, "parameters.sequence_start");
  if (sequence_end !== undefined) readBoolean(sequence_end, "parameters.sequence_end");
  for (const name in parameters)
    if (name.startsWith("triton_"))
      throw new InvalidInputError({
        field: "parameters",
        received: describeJson(name),
        expected: "no names that begin with 'triton_': they are reserved",
      });
}

/** An integer or a text; 0 and "" are those of requests that belong to no sequence. */
function applySequence(request: PredictRequest, id: string | number | boolean): void {
  const field = "parameters.sequence_id";
  if (typeof id === "boolean" || (typeof id === "number" && (!Number.isInteger(id) || id < 0)))
    throw new InvalidInputError({
      field,
      received: describeJson(id),
      expected: "an integer of at least 0, or a string",
    });
  if (id !== 0 && id !== "") request.affinity = readAffinity(String(id), field);
}
