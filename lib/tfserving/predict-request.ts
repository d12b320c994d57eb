/**
 * TensorFlow Serving REST, `POST /v1/models/{model}…:predict`: `instances` (row format) or `inputs` (column format)
 * become the input tensors of a `PredictRequest`. A model's only input needs no name. Rows of several inputs are
 * objects whose keys equal the signature's names; in columns, keys that the signature lacks are ignored, as that server
 * does. Sizes are checked against the signature by the inference service.
 */

import { InvalidInputError } from "../errors.ts";
import { describeJson } from "../http/json-body.ts";
import type { ModelMetadata, PredictRequest } from "../protocol/inference.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import type { RequestBody } from "./request-body.ts";
import { isBase64, needsExactIntegers, type Position, readNested } from "./tensor-value.ts";

/** Rows are answered as `predictions`, columns as `outputs`. */
export type Format = "rows" | "columns";

export type ServingRequest = { request: PredictRequest; format: Format };

type Source = Pick<RequestBody, "hasTokens"> & { root: RequestBody["root"] };

/**
 * @param version as the client named it; undefined asks for the one in production
 * @throws {InvalidInputError}
 */
export function readPredictRequest(
  body: RequestBody,
  { model, inputs }: ModelMetadata,
  version: string | undefined,
): ServingRequest {
  const format = formatOf(body.root);
  const root = inputs.some(({ datatype }) => needsExactIntegers(datatype)) ? body.exact() : body.root;
  const source = { root, hasTokens: body.hasTokens };
  const tensors = format === "rows" ? fromRows(source, inputs) : fromColumns(source, inputs);
  const request: PredictRequest = { model, inputs: tensors, nonFinite: true };
  if (version !== undefined) request.version = version;
  return { request, format };
}

function formatOf({ instances, inputs }: RequestBody["root"]): Format {
  if ((instances === undefined) === (inputs === undefined))
    throw new InvalidInputError({
      field: "body",
      received:
        instances === undefined ? "neither 'instances' nor 'inputs'" : "both 'instances' and 'inputs'",
      expected: "one of them",
    });
  if (instances === undefined) return "columns";
  if (!Array.isArray(instances) || instances.length === 0)
    throw new InvalidInputError({
      field: "instances",
      received: describeJson(instances),
      expected: "an array of at least one instance",
    });
  return "rows";
}

function fromRows({ root, hasTokens }: Source, specs: readonly TensorSpec[]): Tensor[] {
  const instances = root.instances as readonly unknown[];
  const named = isNamed(instances[0]);
  if (!named && specs.length !== 1) throw unnamed("instances[0]", instances[0], specs);
  for (let row = 0; row < instances.length; row++) {
    const instance = instances[row];
    if (isNamed(instance) !== named)
      throw new InvalidInputError({
        field: `instances[${row}]`,
        received: describeJson(instance),
        expected: named ? "an object, as the first instance" : "a value or a list, as the first instance",
      });
    if (named) assertKeys(instance as Record<string, unknown>, row, specs);
  }
  if (!named) return [readTensor(specs[0]!, instances, hasTokens, indexed("instances"))];
  return specs.map((spec) => {
    const values = instances.map((instance) => (instance as Record<string, unknown>)[spec.name]);
    const position: Position = ([row, ...rest]) =>
      row === undefined ? `instances[..].${spec.name}` : indexed(`instances[${row}].${spec.name}`)(rest);
    return readTensor(spec, values, hasTokens, position);
  });
}

function fromColumns({ root: { inputs }, hasTokens }: Source, specs: readonly TensorSpec[]): Tensor[] {
  if (!isNamed(inputs)) {
    if (specs.length !== 1) throw unnamed("inputs", inputs, specs);
    return [readTensor(specs[0]!, inputs, hasTokens, indexed("inputs"))];
  }
  const columns = inputs as Record<string, unknown>;
  return specs.map((spec) => {
    if (!Object.hasOwn(columns, spec.name)) throw otherKeys("inputs", columns, specs);
    return readTensor(spec, columns[spec.name], hasTokens, indexed(`inputs.${spec.name}`));
  });
}

function readTensor(
  { name, datatype }: TensorSpec,
  value: unknown,
  hasTokens: boolean,
  position: Position,
): Tensor {
  return { name, datatype, ...readNested({ value, datatype, hasTokens, position }) };
}

/** Whether a value is an object of tensors by name. */
function isNamed(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isBase64(value);
}

function assertKeys(instance: Record<string, unknown>, row: number, specs: readonly TensorSpec[]): void {
  const all = specs.every(({ name }) => Object.hasOwn(instance, name));
  if (!all || Object.keys(instance).length !== specs.length)
    throw otherKeys(`instances[${row}]`, instance, specs);
}

const MAX_KEYS_SHOWN = 10;

function otherKeys(
  field: string,
  given: Record<string, unknown>,
  specs: readonly TensorSpec[],
): InvalidInputError {
  const keys = Object.keys(given);
  const shown = keys.slice(0, MAX_KEYS_SHOWN).map(describeJson).join(", ");
  return new InvalidInputError({
    field,
    received:
      keys.length === 0 ? "no keys" : `keys ${shown}${keys.length > MAX_KEYS_SHOWN ? " and more" : ""}`,
    expected: `keys ${namesOf(specs)}`,
  });
}

function unnamed(field: string, value: unknown, specs: readonly TensorSpec[]): InvalidInputError {
  return new InvalidInputError({
    field,
    received: describeJson(value),
    expected: `an object with keys ${namesOf(specs)}: the model has ${specs.length} inputs`,
  });
}

function namesOf(specs: readonly TensorSpec[]): string {
  return specs.map(({ name }) => JSON.stringify(name)).join(", ");
}

const indexed =
  (name: string): Position =>
  (indices) =>
    name + indices.map((index) => `[${index}]`).join("");
