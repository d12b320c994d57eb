/**
 * Open Inference Protocol v2, `POST v2/models/{model}[/versions/{version}]/infer`: a body becomes a
 * `PredictRequest`. The body is JSON, or a JSON header and after it the binary data of those inputs that declare a
 * `binary_data_size`, in their order. Which inputs a model has is not known here: the inference service checks names,
 * datatypes and shapes against it.
 *
 * Of the request's parameters `binary_data_output` is read here, those that mean the same over gRPC in
 * request-parameters.ts. Others are kept in `parameters` and ignored, as the protocol allows.
 */

import { InvalidInputError, MalformedBodyError } from "../errors.ts";
import { asObject, bodyText, describeJson, parseJson } from "../http/json-body.ts";
import { type CutBody, cutRows, NumberRow } from "../http/number-rows.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import type { TensorData } from "../tensor/datatype.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";
import { decodeRaw } from "./raw-tensor.ts";
import {
  type Parameters,
  readBoolean,
  readCount,
  readDatatype,
  readId,
  readName,
  readParameters,
  readShape,
} from "./request-fields.ts";
import { applyParameters } from "./request-parameters.ts";
import {
  type AnswerForm,
  BINARY_FORM,
  JSON_FORM,
  readRequestedOutputs,
  refuseSharedMemory,
} from "./requested-outputs.ts";
import { hasLongIntegers, isLong, parseExactIntegers, readTensorData } from "./tensor-data.ts";

export type InferRequest = {
  /** Echoed in the answer. */
  id?: string;
  request: PredictRequest;
  parameters: Parameters;
  form: AnswerForm;
};

const NO_BYTES = Buffer.alloc(0);
const NO_PARAMETERS: Parameters = {};

/**
 * @param headerBytes how much of the body is JSON; undefined: all
 * @throws {MalformedBodyError} {InvalidInputError}
 */
export function parseInferRequest(
  body: Buffer,
  model: string,
  version?: string,
  headerBytes?: number,
): InferRequest {
  const json = headerBytes === undefined ? body : body.subarray(0, headerBytes);
  const cut = cutRows(json, "data");
  if (cut) {
    const read = readCut(cut, body, model, version, headerBytes);
    if (read) return read;
  }
  return readRequest(bodyText(json), undefined, body, model, version, headerBytes);
}

/** Undefined when the cut, or what is left, was not right: the whole body then says why. */
function readCut(cut: CutBody, body: Buffer, model: string, version?: string, headerBytes?: number) {
  try {
    const read = readRequest(cut.text, cut, body, model, version, headerBytes);
    return cut.complete ? read : undefined;
  } catch (error) {
    if (cut.complete && !(error instanceof MalformedBodyError)) throw error;
    return undefined;
  }
}

function readRequest(
  text: string,
  cut: CutBody | undefined,
  body: Buffer,
  model: string,
  version: string | undefined,
  headerBytes: number | undefined,
): InferRequest {
  const root = asObject(parseJson(text), "body");
  const id = readId(root.id);
  const parameters =
    root.parameters === undefined ? NO_PARAMETERS : readParameters(root.parameters, "parameters");
  if (!Array.isArray(root.inputs) || root.inputs.length === 0)
    throw new InvalidInputError({
      field: "inputs",
      received: describeJson(root.inputs),
      expected: "a non-empty array of tensors {name, shape, datatype, data}",
    });
  const binary = new BinaryData(headerBytes === undefined ? NO_BYTES : body.subarray(headerBytes));
  const inputs = readInputs(root.inputs, text, cut, binary);
  binary.assertEnd();

  const request: PredictRequest = { model, inputs };
  if (version !== undefined) request.version = version;
  if (parameters !== NO_PARAMETERS) applyParameters(request, parameters);
  const form = readForm(parameters.binary_data_output, root.outputs);
  if (form.outputs.length > 0) request.outputs = form.outputs.map(({ name }) => name);
  return id === undefined ? { request, parameters, form } : { id, request, parameters, form };
}

function readForm(binaryOutput: unknown, outputs: unknown): AnswerForm {
  const binary = binaryOutput !== undefined && readBoolean(binaryOutput, "parameters.binary_data_output");
  const requested = readRequestedOutputs(outputs);
  if (requested.length === 0) return binary ? BINARY_FORM : JSON_FORM;
  return { binary, outputs: requested };
}

function readInputs(
  values: readonly unknown[],
  text: string,
  cut: CutBody | undefined,
  binary: BinaryData,
): Tensor[] {
  const tensors: Tensor[] = [];
  const names = new Set<string>();
  let exact: unknown;
  for (let i = 0; i < values.length; i++) {
    const field = `inputs[${i}]`;
    const input = asObject(values[i], field);
    const name = readName(input.name, `${field}.name`);
    if (names.has(name))
      throw new InvalidInputError({
        field: `${field}.name`,
        received: `'${name}' twice`,
        expected: "each input once",
      });
    names.add(name);
    const datatype = readDatatype(input.datatype, `inputs["${name}"].datatype`);
    const shape = readShape(input.shape, `inputs["${name}"].shape`);
    const bytes = input.parameters === undefined ? undefined : readBinary(input, name, binary);
    let data: TensorData;
    if (bytes) data = decodeRaw(datatype, elementCount(shape), bytes, `inputs["${name}"] binary data`);
    else {
      let written = cut ? cut.row(input.data) : input.data;
      if (isLong(datatype) && hasLongIntegers(text)) {
        exact ??= parseExactIntegers(text);
        const { data } = (exact as { inputs: { data: unknown }[] }).inputs[i]!;
        if (!(written instanceof NumberRow)) written = data;
      }
      data = readTensorData(written, datatype, shape, `inputs["${name}"].data`);
    }
    tensors.push({ name, datatype, shape, data });
  }
  return tensors;
}

/** The input's share of the binary data; undefined when it declares none. */
function readBinary(
  input: Record<string, unknown>,
  name: string,
  binary: BinaryData,
): Uint8Array | undefined {
  const field = `inputs["${name}"].parameters`;
  const { binary_data_size, shared_memory_region } = readParameters(input.parameters, field);
  refuseSharedMemory(shared_memory_region, field);
  if (binary_data_size === undefined) return undefined;
  if (input.data !== undefined)
    throw new InvalidInputError({
      field: `inputs["${name}"]`,
      received: "both 'data' and 'binary_data_size'",
      expected: "one of them",
    });
  return binary.take(readCount(binary_data_size, `${field}.binary_data_size`), `${field}.binary_data_size`);
}

/** What follows the JSON header, taken input by input. */
class BinaryData {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(byteCount: number, field: string): Uint8Array {
    const left = this.#bytes.length - this.#at;
    if (byteCount > left)
      throw new InvalidInputError({
        field,
        received: String(byteCount),
        expected: `at most the ${left} bytes that are left after the JSON header and the inputs before`,
      });
    this.#at += byteCount;
    return this.#bytes.subarray(this.#at - byteCount, this.#at);
  }

  assertEnd(): void {
    if (this.#at !== this.#bytes.length)
      throw new InvalidInputError({
        field: "body",
        received: `${this.#bytes.length} bytes of binary data`,
        expected: `the ${this.#at} bytes that its inputs declare`,
      });
  }
}
