/**
 * Open Inference Protocol v2: a `PredictResponse` as the body of an infer answer: JSON with flat, row-major data, and
 * after it the binary data of those outputs that are to leave so, in their order. Binary data are views of the
 * outputs, not copies.
 *
 * JSON has no NaN or Infinity. Triton writes the bare tokens, which strict parsers refuse; others write null,
 * which reads like a missing value. Here such an output is an error that names it: a model that answers NaN is
 * broken, and its caller should hear so; as binary data it leaves as it is. FP16 and BF16 outputs have no JSON form
 * and are refused, as Triton does.
 */

import { ExecutionError, InvalidInputError } from "../errors.ts";
import type { PredictResponse } from "../protocol/inference.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { firstNonFinite, printFloat32 } from "./number-text.ts";
import { encodeRaw } from "./raw-tensor.ts";
import { type AnswerForm, isBinary, JSON_FORM } from "./requested-outputs.ts";

export type InferAnswer = {
  json: string;
  /** What follows the JSON; empty when all of the answer is JSON. */
  binary: readonly Uint8Array[];
};

/** @throws {ExecutionError} for NaN or Infinity {InvalidInputError} for a datatype without a JSON form */
export function printInferResponse(
  response: PredictResponse,
  id?: string,
  form: AnswerForm = JSON_FORM,
): InferAnswer {
  const head = `{"model_name":${JSON.stringify(response.model)},"model_version":${JSON.stringify(response.version)}`;
  const echoed = id === undefined ? "" : `,"id":${JSON.stringify(id)}`;
  const parameters = response.steps ? `,"parameters":${JSON.stringify(stepParameters(response.steps))}` : "";
  const binary: Uint8Array[] = [];
  let outputs = "";
  for (const tensor of response.outputs) {
    let content: string;
    if (isBinary(form, tensor.name)) {
      const bytes = encodeRaw(tensor);
      binary.push(bytes);
      content = `"parameters":{"binary_data_size":${bytes.byteLength}}`;
    } else content = `"data":${printData(tensor, response)}`;
    outputs += `${outputs === "" ? "" : ","}${printHead(tensor)},${content}}`;
  }
  return { json: `${head}${echoed}${parameters},"outputs":[${outputs}]}`, binary };
}

/** What answered the steps of an ensemble, as parameters of its answer: `step.classify` is "mnist/3". */
export function stepParameters(steps: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(steps).map(([step, answeredBy]) => [`step.${step}`, answeredBy]));
}

function printHead({ name, datatype, shape }: Tensor): string {
  return `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":[${shape.join(",")}]`;
}

/** `[…]`, flat. @throws {ExecutionError} {InvalidInputError} as the whole answer */
export function printData({ name, datatype, data }: Tensor, response: PredictResponse): string {
  switch (datatype) {
    case "FP32":
      assertFinite(data as Float32Array, name, response);
      return printFloat32(data as Float32Array);
    case "FP64":
      assertFinite(data as Float64Array, name, response);
      return `[${data.join(",")}]`;
    case "BOOL":
      return `[${Array.from(data as Uint8Array, (value) => value !== 0).join(",")}]`;
    case "BYTES":
      return JSON.stringify(data);
    case "FP16":
    case "BF16":
      throw new InvalidInputError({
        field: `outputs["${name}"]`,
        received: `a request for ${datatype} as JSON`,
        expected: "binary data: half precision has no JSON form",
      });
    default:
      return `[${data.join(",")}]`;
  }
}

/** @throws {ExecutionError} naming the output and the index */
export function assertFinite(
  data: Float32Array | Float64Array,
  output: string,
  { model, version }: PredictResponse,
): void {
  const index = firstNonFinite(data);
  if (index >= 0)
    throw new ExecutionError(
      `Model '${model}' version '${version}'`,
      `output '${output}' is ${data[index]} at index ${index}, which JSON cannot carry`,
    );
}
