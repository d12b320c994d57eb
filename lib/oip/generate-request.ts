/**
 * Triton's generate extension, `POST …/generate` and `…/generate_stream`: a JSON object whose members are inputs of the
 * model, by name, and parameters of the request; those of the member `parameters` belong to it as if they stood beside
 * it. An input is one value or a flat array. Its shape is the model's: what the fixed dimensions leave over goes into
 * the innermost free one, and the other free ones are 1.
 */

import { InvalidInputError } from "../errors.ts";
import { asObject, bodyText, describeJson, parseJson } from "../http/json-body.ts";
import type { ModelMetadata, PredictRequest } from "../protocol/inference.ts";
import { formatShape, type Tensor, type TensorSpec } from "../tensor/tensor.ts";
import { type Parameters, readId, readParameters } from "./request-fields.ts";
import { applyParameters } from "./request-parameters.ts";
import { hasLongIntegers, isLong, parseExactIntegers, readTensorData } from "./tensor-data.ts";

export type GenerateRequest = { id?: string; request: PredictRequest };

/** @throws {MalformedBodyError} {InvalidInputError} */
export function parseGenerateRequest(
  body: Buffer,
  { model, inputs: specs }: ModelMetadata,
  version?: string,
): GenerateRequest {
  const text = bodyText(body);
  let root = parseJson(text);
  if (specs.some(({ datatype }) => isLong(datatype)) && hasLongIntegers(text))
    root = parseExactIntegers(text);
  const { id, parameters, ...beside } = asObject(root, "body");
  const within = parameters === undefined ? {} : asObject(parameters, "parameters");
  const inputs: Tensor[] = [];
  const others: Parameters = {};
  for (const members of [beside, within])
    for (const [name, value] of Object.entries(members)) {
      const spec = specs.find((input) => input.name === name);
      if (!spec) Object.assign(others, readParameters({ [name]: value }, "parameters"));
      else if (inputs.some((input) => input.name === name)) throw twice(name);
      else inputs.push(readInput(value, spec));
    }
  const request: PredictRequest = { model, inputs };
  if (version !== undefined) request.version = version;
  applyParameters(request, others);
  const given = readId(id);
  return given === undefined ? { request } : { id: given, request };
}

function readInput(value: unknown, { name, datatype, shape: free }: TensorSpec): Tensor {
  const values = Array.isArray(value) ? value : [value];
  let left = values.length;
  for (const size of free) if (size > 0) left /= size;
  const innermost = free.lastIndexOf(-1);
  if (!Number.isInteger(left) || (innermost < 0 && left !== 1))
    throw new InvalidInputError({
      field: name,
      received: describeJson(value),
      expected: `a value or a flat array that fits shape ${formatShape(free)}`,
    });
  const shape = free.map((size, axis) => {
    if (size !== -1) return size;
    return axis === innermost ? left : 1;
  });
  return { name, datatype, shape, data: readTensorData(values, datatype, [values.length], name) };
}

function twice(name: string): InvalidInputError {
  return new InvalidInputError({
    field: name,
    received: "the input beside 'parameters' and in it",
    expected: "each input once",
  });
}
