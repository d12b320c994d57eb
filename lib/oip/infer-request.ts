/**
 * Open Inference Protocol v2, `POST v2/models/{model}[/versions/{version}]/infer`: a JSON body becomes a
 * `PredictRequest`. Tensors are JSON only; a request that wants the binary tensor extension is refused. Which
 * inputs a model has is not known here: the inference service checks names, datatypes and shapes against it.
 *
 * Request parameters understood: `cache: false` (neither read nor write the prediction cache). Others are kept in
 * `parameters` and ignored, as the protocol allows.
 */

import { InvalidInputError } from "../errors.ts";
import { asObject, bodyText, describeJson, parseJson } from "../http/json-body.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import { DATATYPES, type Datatype, isDatatype } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { parseExactIntegers, readTensorData } from "./tensor-data.ts";

export type Parameters = Record<string, string | number | boolean>;

export type InferRequest = {
  /** Echoed in the answer. */
  id?: string;
  request: PredictRequest;
  parameters: Parameters;
};

/** Deeper shapes than this are a mistake or an attack. */
const MAX_RANK = 32;

/** @throws {MalformedBodyError} {InvalidInputError} */
export function parseInferRequest(body: Buffer, model: string, version?: string): InferRequest {
  const text = bodyText(body);
  const root = asObject(parseJson(text), "body");
  const id = readId(root.id);
  const parameters = readParameters(root.parameters, "parameters");
  refuseBinary(parameters.binary_data_output, "parameters.binary_data_output");

  if (!Array.isArray(root.inputs) || root.inputs.length === 0)
    throw new InvalidInputError({
      field: "inputs",
      received: describeJson(root.inputs),
      expected: "a non-empty array of tensors {name, shape, datatype, data}",
    });
  const inputs = readInputs(root.inputs, text);
  const outputs = root.outputs === undefined ? undefined : readOutputs(root.outputs);

  const request: PredictRequest = { model, inputs };
  if (version !== undefined) request.version = version;
  if (outputs !== undefined) request.outputs = outputs;
  if (parameters.cache !== undefined) request.cache = readCache(parameters.cache, "parameters.cache");
  return id === undefined ? { request, parameters } : { id, request, parameters };
}

/** The `cache` switch of a request. @throws {InvalidInputError} when it is not a boolean */
export function readCache(value: unknown, field: string): boolean {
  if (typeof value !== "boolean")
    throw new InvalidInputError({ field, received: describeJson(value), expected: "true or false" });
  return value;
}

function readInputs(values: readonly unknown[], text: string): Tensor[] {
  const tensors: Tensor[] = [];
  let exact: unknown;
  for (let i = 0; i < values.length; i++) {
    const field = `inputs[${i}]`;
    const input = asObject(values[i], field);
    const name = readName(input.name, `${field}.name`);
    if (tensors.some((tensor) => tensor.name === name))
      throw new InvalidInputError({
        field: `${field}.name`,
        received: `'${name}' twice`,
        expected: "each input once",
      });
    const datatype = readDatatype(input.datatype, `inputs["${name}"].datatype`);
    const shape = readShape(input.shape, `inputs["${name}"].shape`);
    if (input.parameters !== undefined) {
      const parameters = readParameters(input.parameters, `inputs["${name}"].parameters`);
      refuseBinary(parameters.binary_data_size, `inputs["${name}"].parameters.binary_data_size`);
    }
    let data = input.data;
    if (datatype === "INT64" || datatype === "UINT64") {
      exact ??= parseExactIntegers(text);
      data = (exact as { inputs: { data: unknown }[] }).inputs[i]!.data;
    }
    tensors.push({
      name,
      datatype,
      shape,
      data: readTensorData(data, datatype, shape, `inputs["${name}"].data`),
    });
  }
  return tensors;
}

function readOutputs(value: unknown): string[] | undefined {
  if (!Array.isArray(value))
    throw new InvalidInputError({
      field: "outputs",
      received: describeJson(value),
      expected: "an array of {name}",
    });
  const names = value.map((item, i) => {
    const output = asObject(item, `outputs[${i}]`);
    const name = readName(output.name, `outputs[${i}].name`);
    const parameters = readParameters(output.parameters, `outputs[${i}].parameters`);
    refuseBinary(parameters.binary_data, `outputs["${name}"].parameters.binary_data`);
    if (parameters.classification !== undefined)
      throw new InvalidInputError({
        field: `outputs["${name}"].parameters.classification`,
        received: describeJson(parameters.classification),
        expected: "nothing: the classification extension is not supported",
      });
    return name;
  });
  return names.length === 0 ? undefined : names;
}

function readId(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string")
    throw new InvalidInputError({ field: "id", received: describeJson(value), expected: "a string" });
  return value;
}

function readName(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "")
    throw new InvalidInputError({ field, received: describeJson(value), expected: "a non-empty string" });
  return value;
}

function readDatatype(value: unknown, field: string): Datatype {
  if (!isDatatype(value))
    throw new InvalidInputError({
      field,
      received: describeJson(value),
      expected: `one of ${DATATYPES.join(", ")}`,
    });
  return value;
}

function readShape(value: unknown, field: string): number[] {
  if (
    !Array.isArray(value) ||
    value.length > MAX_RANK ||
    !value.every((size) => Number.isSafeInteger(size) && size >= 0)
  )
    throw new InvalidInputError({
      field,
      received: (JSON.stringify(value) ?? "nothing").slice(0, 80),
      expected: `an array of at most ${MAX_RANK} non-negative integers`,
    });
  return value as number[];
}

function readParameters(value: unknown, field: string): Parameters {
  if (value === undefined) return {};
  const parameters = asObject(value, field);
  for (const [name, item] of Object.entries(parameters))
    if (typeof item !== "string" && typeof item !== "number" && typeof item !== "boolean")
      throw new InvalidInputError({
        field: `${field}.${name}`,
        received: describeJson(item),
        expected: "a string, number or boolean",
      });
  return parameters as Parameters;
}

function refuseBinary(value: unknown, field: string): void {
  if (value === undefined || value === false) return;
  throw new InvalidInputError({
    field,
    received: describeJson(value),
    expected: "false: the binary tensor extension is not supported, send and take JSON",
  });
}
