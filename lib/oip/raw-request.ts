/**
 * The raw binary request of the Open Inference Protocol: the body is the data of the model's only input and nothing
 * else. The batch is 1, one further dimension may be free and follows from the length; a BYTES input is one element,
 * without a length before it. All outputs are to leave as binary data.
 */

import { InvalidInputError } from "../errors.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import { elementBytes, type TensorData } from "../tensor/datatype.ts";
import { elementCount, formatShape, type TensorSpec } from "../tensor/tensor.ts";
import type { InferRequest } from "./infer-request.ts";
import { decodeRaw } from "./raw-tensor.ts";
import { BINARY_FORM } from "./requested-outputs.ts";

/** @throws {InvalidInputError} when the model cannot be asked so, or the length does not fit it */
export function parseRawRequest(
  body: Buffer,
  { model, inputs }: Pick<ModelMetadata, "model" | "inputs">,
  version?: string,
): InferRequest {
  const [input] = inputs;
  if (input === undefined || inputs.length !== 1)
    throw new InvalidInputError({
      field: "body",
      received: "a raw binary request",
      expected: `JSON or a JSON header: model '${model}' has ${inputs.length} inputs`,
    });
  const { name, datatype } = input;
  const shape = deducedShape(input, body.length);
  const data =
    datatype === "BYTES" ? oneString(body) : decodeRaw(datatype, elementCount(shape), body, "body");
  return {
    request: {
      model,
      ...(version === undefined ? {} : { version }),
      inputs: [{ name, datatype, shape, data }],
    },
    parameters: {},
    form: BINARY_FORM,
  };
}

function deducedShape({ name, datatype, shape }: TensorSpec, bodyBytes: number): number[] {
  const refuse = (expected: string): never => {
    throw new InvalidInputError({
      field: "body",
      received: "a raw binary request",
      expected: `JSON or a JSON header: input '${name}' is ${datatype} ${formatShape(shape)}, and ${expected}`,
    });
  };
  const single = shape[0] === -1 ? [1, ...shape.slice(1)] : [...shape];
  const free = single.indexOf(-1);
  if (free !== single.lastIndexOf(-1)) refuse("only one dimension can follow from the length");
  const known = elementCount(single.filter((size) => size !== -1));
  if (datatype === "BYTES") {
    if (known !== 1) refuse("the body can be one element only");
    return single.map((size) => (size === -1 ? 1 : size));
  }
  if (free >= 0) single[free] = Math.floor(bodyBytes / (known * elementBytes(datatype)));
  return single;
}

/** The prefix that the element has elsewhere is put before it, so that it is checked as elsewhere. */
function oneString(body: Buffer): TensorData {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return decodeRaw("BYTES", 1, Buffer.concat([length, body]), "body");
}
