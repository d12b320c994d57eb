/**
 * `ModelInferRequest` as a `PredictRequest`: the rules of the Open Inference Protocol for its data. Either every
 * input's data are in `raw_input_contents`, in the order of the inputs, or each input's are in its typed `contents`;
 * both at once are refused. Which inputs a model has is not known here: the inference service checks names, datatypes
 * and shapes against it.
 */

import { InvalidInputError } from "../../errors.ts";
import type { PredictRequest } from "../../protocol/inference.ts";
import type { Datatype, TensorData } from "../../tensor/datatype.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import type { InferRequest } from "../infer-request.ts";
import { decodeRaw } from "../raw-tensor.ts";
import { type Parameters, readCount, readDatatype, readName, readShape } from "../request-fields.ts";
import { applyParameters } from "../request-parameters.ts";
import { BINARY_FORM, type RequestedOutput, refuseSharedMemory } from "../requested-outputs.ts";
import { readContents } from "./contents.ts";
import type { InferMessage, InputMessage, OutputMessage } from "./infer-message.ts";

/** Triton's clients ask so for an empty answer at the end of many; here each request has exactly one answer. */
const EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response";

/** @throws {InvalidInputError} {MalformedBodyError} */
export function inferRequest(message: InferMessage): InferRequest {
  const { version, id, parameters } = message;
  const request: PredictRequest = {
    model: readName(message.model, "model_name"),
    inputs: readInputs(message),
  };
  if (version !== "") request.version = version;
  applyParameters(request, withoutFinalResponse(parameters));
  const outputs = message.outputs.map(readOutput);
  if (outputs.length > 0) request.outputs = outputs.map(({ name }) => name);
  const form = outputs.length === 0 ? BINARY_FORM : { binary: true, outputs };
  return id === "" ? { request, parameters, form } : { id, request, parameters, form };
}

function readInputs({ inputs, raw }: InferMessage): Tensor[] {
  if (raw.length > 0 && raw.length !== inputs.length)
    throw new InvalidInputError({
      field: "raw_input_contents",
      received: `${raw.length} for ${inputs.length} inputs`,
      expected: "one for every input, or none at all",
    });
  return inputs.map((input, i) => readInput(input, i, raw[i]));
}

function readInput(input: InputMessage, index: number, raw: Uint8Array | undefined): Tensor {
  const name = readName(input.name, `inputs[${index}].name`);
  const field = `inputs["${name}"]`;
  const datatype = readDatatype(input.datatype, `${field}.datatype`);
  const shape = readShape(input.shape, `${field}.shape`);
  refuseSharedMemory(input.parameters.shared_memory_region, `${field}.parameters`);
  const elements = elementCount(shape);
  if (raw === undefined) return { name, datatype, shape, data: typed(input, datatype, elements, field) };
  if (input.contents !== undefined)
    throw new InvalidInputError({
      field: `${field}.contents`,
      received: "typed contents beside raw_input_contents",
      expected: "one of them",
    });
  return {
    name,
    datatype,
    shape,
    data: decodeRaw(datatype, elements, raw, `raw_input_contents of ${field}`),
  };
}

const NO_CONTENTS = new Uint8Array(0);

function typed({ contents }: InputMessage, datatype: Datatype, elements: number, field: string): TensorData {
  return readContents(contents ?? NO_CONTENTS, datatype, elements, `${field}.contents`);
}

function readOutput({ name, parameters }: OutputMessage, index: number): RequestedOutput {
  const output = readName(name, `outputs[${index}].name`);
  const field = `outputs["${output}"].parameters`;
  const { classification, shared_memory_region } = parameters;
  refuseSharedMemory(shared_memory_region, field);
  return {
    name: output,
    binary: undefined,
    classes: classification === undefined ? 0 : readCount(classification, `${field}.classification`),
  };
}

function withoutFinalResponse(parameters: Parameters): Parameters {
  if (!(EMPTY_FINAL_RESPONSE in parameters)) return parameters;
  const { [EMPTY_FINAL_RESPONSE]: _, ...others } = parameters;
  return others;
}
