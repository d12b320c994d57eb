/**
 * A prediction request against a model's signature: what passes here, the runtime takes. Every refusal is an
 * INVALID_INPUT that names the field, what came and what was expected.
 */

import { InvalidInputError } from "../errors.ts";
import { readAffinity } from "../protocol/affinity.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { assertMatches, assertTensor, formatShape, type Tensor } from "../tensor/tensor.ts";
import { firstNonFinite } from "./finite.ts";

/**
 * What a request must have before a model can be looked for: it may come from anywhere on the cluster.
 * @throws {InvalidInputError}
 */
export function checkRequest(request: unknown): asserts request is PredictRequest {
  type Fields = Record<keyof PredictRequest, unknown>;
  const given = (request ?? {}) as Fields;
  const { model, version, inputs, outputs, cache, priority, timeoutMs, nonFinite, affinity, within } = given;
  const refuse = (field: string, received: unknown, expected: string): never => {
    throw new InvalidInputError({ field, received: quote(received), expected });
  };
  if (typeof model !== "string" || model === "") refuse("model", model, "a model name");
  if (version !== undefined && typeof version !== "string") refuse("version", version, "digits or an alias");
  if (!Array.isArray(inputs)) refuse("inputs", typeof inputs, "an array of tensors");
  const names =
    outputs === undefined || (Array.isArray(outputs) && outputs.every((o) => typeof o === "string"));
  if (!names) refuse("outputs", outputs, "an array of output names");
  if (cache !== undefined && typeof cache !== "boolean") refuse("cache", cache, "true or false");
  if (priority !== undefined && !(Number.isSafeInteger(priority) && (priority as number) >= 0))
    refuse("priority", priority, "an integer of at least 0");
  if (timeoutMs !== undefined && !(typeof timeoutMs === "number" && timeoutMs > 0))
    refuse("timeoutMs", timeoutMs, "milliseconds above 0");
  if (nonFinite !== undefined && typeof nonFinite !== "boolean")
    refuse("nonFinite", nonFinite, "true or false");
  if (within !== undefined && !(Array.isArray(within) && within.every((name) => typeof name === "string")))
    refuse("within", within, "an array of model/version");
  if (affinity !== undefined) readAffinity(affinity, "affinity");
}

/**
 * The inputs in the model's order.
 * @param batchable whether the first dimension counts rows that all inputs must share
 * @param nonFinite whether NaN and infinities are welcome
 * @throws {InvalidInputError}
 */
export function checkInputs(
  inputs: readonly Tensor[],
  signature: ModelSignature,
  batchable: boolean,
  nonFinite = false,
): Tensor[] {
  const names = signature.inputs.map(({ name }) => name);
  const ordered: Tensor[] = new Array(names.length);
  for (const [i, input] of inputs.entries()) {
    assertTensor(input, `inputs[${i}]`);
    const position = names.indexOf(input.name);
    const known = `one of ${names.join(", ")}`;
    if (position === -1)
      throw new InvalidInputError({
        field: `inputs[${i}].name`,
        received: quote(input.name),
        expected: known,
      });
    if (ordered[position])
      throw new InvalidInputError({
        field: `inputs[${i}].name`,
        received: `${quote(input.name)} a second time`,
        expected: "every input once",
      });
    ordered[position] = input;
  }
  for (const [position, spec] of signature.inputs.entries()) {
    const input = ordered[position];
    if (!input)
      throw new InvalidInputError({
        field: "inputs",
        received: `${inputs.map(({ name }) => quote(name)).join(", ") || "no inputs"}`,
        expected: `an input ${quote(spec.name)}`,
      });
    assertMatches(input, spec);
    checkSizes(input, batchable ? ordered[0]! : undefined);
    if (!nonFinite) checkFinite(input);
    checkValues(input);
  }
  return ordered;
}

/**
 * The requested outputs; undefined for all of them.
 * @throws {InvalidInputError}
 */
export function checkOutputs(
  outputs: PredictRequest["outputs"],
  signature: ModelSignature,
): string[] | undefined {
  if (outputs === undefined || outputs.length === 0) return undefined;
  const names = signature.outputs.map(({ name }) => name);
  for (const [i, output] of outputs.entries()) {
    const field = `outputs[${i}]`;
    if (!names.includes(output))
      throw new InvalidInputError({ field, received: quote(output), expected: `one of ${names.join(", ")}` });
    if (outputs.indexOf(output) !== i)
      throw new InvalidInputError({
        field,
        received: `${quote(output)} a second time`,
        expected: "every output at most once",
      });
  }
  return outputs;
}

function checkSizes({ name, shape }: Tensor, first: Tensor | undefined): void {
  const field = `inputs["${name}"].shape`;
  if (shape.includes(0))
    throw new InvalidInputError({
      field,
      received: formatShape(shape),
      expected: "at least 1 in every dimension",
    });
  if (first && shape[0] !== first.shape[0])
    throw new InvalidInputError({
      field,
      received: formatShape(shape),
      expected: `${first.shape[0]} rows, as in input ${quote(first.name)}`,
    });
}

function checkFinite(tensor: Tensor): void {
  const at = firstNonFinite(tensor);
  if (at !== -1)
    throw new InvalidInputError({
      field: `inputs["${tensor.name}"].data[${at}]`,
      received: tensor.datatype === "FP16" ? "NaN or an infinity" : String(tensor.data[at]),
      expected: "a finite number",
    });
}

function checkValues(tensor: Tensor): void {
  if (tensor.datatype === "BYTES") checkTexts(tensor);
  if (tensor.datatype !== "BOOL") return;
  const values = tensor.data as Uint8Array;
  const wrong = values.findIndex((value) => value > 1);
  if (wrong !== -1)
    throw new InvalidInputError({
      field: `inputs["${tensor.name}"].data[${wrong}]`,
      received: String(values[wrong]),
      expected: "0 or 1",
    });
}

/** onnxruntime-node hands strings on as C strings: a NUL would end them in silence. */
function checkTexts({ name, data }: Tensor): void {
  const wrong = (data as string[]).findIndex((text) => text.includes("\0"));
  if (wrong !== -1)
    throw new InvalidInputError({
      field: `inputs["${name}"].data[${wrong}]`,
      received: "a string with a NUL character",
      expected: "a string without: the runtime would cut it off there",
    });
}

function quote(text: unknown): string {
  return JSON.stringify(text) ?? String(text);
}
