/**
 * TensorFlow Serving REST, `:classify` and `:regress`: a list of examples, each an object of features, becomes input
 * tensors with one row per example. A feature is a value or a flat list of values; `context` holds features that all
 * examples share and none repeats. Features are converted by the signature: true and false count 1 and 0 where integers
 * are wanted. Features that the model does not take are ignored, as that server does; missing ones are refused.
 */

import { InvalidInputError } from "../errors.ts";
import { asObject, describeJson } from "../http/json-body.ts";
import type { ModelMetadata, PredictRequest } from "../protocol/inference.ts";
import { allocate, type Datatype } from "../tensor/datatype.ts";
import { elementCount, formatShape, type Tensor, type TensorSpec } from "../tensor/tensor.ts";
import type { RequestBody } from "./request-body.ts";
import { needsExactIntegers, readFlat } from "./tensor-value.ts";

type Features = Readonly<Record<string, unknown>>;
type Examples = { context: Features; examples: readonly Features[]; hasTokens: boolean };

/**
 * @param output the one to ask for
 * @throws {InvalidInputError}
 */
export function readExampleRequest(
  body: RequestBody,
  { model, inputs }: ModelMetadata,
  version: string | undefined,
  output: string,
): PredictRequest {
  const exact = inputs.some(({ datatype }) => needsExactIntegers(datatype));
  const given = readExamples(exact ? body.exact() : body.root, body.hasTokens);
  const tensors = inputs.map((spec) => readFeature(spec, given));
  const request: PredictRequest = { model, inputs: tensors, outputs: [output], nonFinite: true };
  if (version !== undefined) request.version = version;
  return request;
}

function readExamples(root: RequestBody["root"], hasTokens: boolean): Examples {
  const context = root.context === undefined ? {} : asObject(root.context, "context");
  if (!Array.isArray(root.examples) || root.examples.length === 0)
    throw new InvalidInputError({
      field: "examples",
      received: describeJson(root.examples),
      expected: "an array of at least one example",
    });
  const examples = root.examples.map((example, i) => asObject(example, `examples[${i}]`));
  for (const [i, example] of examples.entries())
    for (const feature of Object.keys(context))
      if (Object.hasOwn(example, feature))
        throw new InvalidInputError({
          field: `examples[${i}].${feature}`,
          received: "a feature that is in 'context' too",
          expected: "each feature in one place",
        });
  return { context, examples, hasTokens };
}

function readFeature(spec: TensorSpec, { context, examples, hasTokens }: Examples): Tensor {
  const { name, datatype } = spec;
  const shared = Object.hasOwn(context, name);
  const rows = examples.map((example, i) => {
    const owner = shared ? context : example;
    const field = `${shared ? "context" : `examples[${i}]`}.${name}`;
    if (!Object.hasOwn(owner, name))
      throw new InvalidInputError({ field, received: "nothing", expected: `a feature of ${datatype}` });
    const value = owner[name];
    return { field, values: Array.isArray(value) ? value : [value], isList: Array.isArray(value) };
  });
  const shape = [examples.length, ...rowShape(spec, rows[0]!)];
  const size = elementCount(shape.slice(1));
  for (const { field, values } of rows)
    if (values.length !== size)
      throw new InvalidInputError({
        field,
        received: values.length === 1 ? "1 value" : `${values.length} values`,
        expected: `${size} for a row of ${formatShape(spec.shape)}`,
      });
  const data = allocate(datatype, size * rows.length);
  for (const [row, { field, values, isList }] of rows.entries()) {
    const position = ([index]: readonly number[]) =>
      isList && index !== undefined ? `${field}[${index}]` : field;
    readFlat(numbered(values, datatype), { datatype, position, hasTokens }, data, row * size);
  }
  return { name, datatype, shape, data };
}

/** Dimensions behind the batch; one that may vary is what the first row fills. */
function rowShape(
  { name, shape }: TensorSpec,
  first: { field: string; values: readonly unknown[] },
): number[] {
  const dims = shape.slice(1);
  const free = dims.filter((size) => size === -1).length;
  if (shape.length === 0 || free > 1)
    throw new InvalidInputError({
      field: first.field,
      received: "a flat feature",
      expected: `predict, for input '${name}' of shape ${formatShape(shape)}`,
    });
  const known = dims.filter((size) => size !== -1).reduce((product, size) => product * size, 1);
  return dims.map((size) => (size === -1 ? Math.floor(first.values.length / known) : size));
}

/** Integer features may hold true and false. */
function numbered(values: readonly unknown[], datatype: Datatype): readonly unknown[] {
  if (!datatype.includes("INT")) return values;
  return values.map((value) => (typeof value === "boolean" ? Number(value) : value));
}
