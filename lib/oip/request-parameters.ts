/**
 * The parameters of a whole infer request, over HTTP or gRPC. Understood: `priority` and `timeout` (microseconds) of
 * the schedule policy, and `cache: false` (neither read nor write the prediction cache). Names that begin with
 * `triton_` are reserved and refused, as Triton does; others mean nothing here, as the protocol allows.
 */

import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import { type Parameters, readBoolean, readCount } from "./request-fields.ts";

/** In the protocol's `timeout`. */
const MICROSECONDS_PER_MS = 1000;

/** Sets what the parameters say. @throws {InvalidInputError} */
export function applyParameters(request: PredictRequest, parameters: Parameters): void {
  const { cache, priority, timeout } = parameters;
  if (cache !== undefined) request.cache = readBoolean(cache, "parameters.cache");
  if (priority !== undefined) request.priority = readCount(priority, "parameters.priority");
  if (timeout !== undefined) {
    const timeoutMs = readCount(timeout, "parameters.timeout") / MICROSECONDS_PER_MS;
    if (timeoutMs > 0) request.timeoutMs = timeoutMs;
  }
  for (const name in parameters)
    if (name.startsWith("triton_"))
      throw new InvalidInputError({
        field: "parameters",
        received: describeJson(name),
        expected: "no names that begin with 'triton_': they are reserved",
      });
}
