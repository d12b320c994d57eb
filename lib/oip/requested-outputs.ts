/**
 * Which outputs a request of the Open Inference Protocol wants, and in which form each is to leave: as JSON or as
 * binary data, as scores or as classes (the binary tensor and classification extensions). Shared memory is refused:
 * a client that reads its answer there must not take what it finds for one.
 */

import { InvalidInputError } from "../errors.ts";
import { asObject, describeJson } from "../http/json-body.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { classify } from "./classification.ts";
import { readArray, readBoolean, readCount, readName, readParameters } from "./request-fields.ts";

export type RequestedOutput = {
  name: string;
  /** As binary data. Undefined: as the request as a whole says. */
  binary: boolean | undefined;
  /** How many classes instead of the scores; 0: the scores. */
  classes: number;
};

/** How an answer is to be printed. */
export type AnswerForm = {
  /** For outputs that say nothing themselves. */
  binary: boolean;
  outputs: readonly RequestedOutput[];
};

export const JSON_FORM: AnswerForm = { binary: false, outputs: [] };
export const BINARY_FORM: AnswerForm = { binary: true, outputs: [] };

/** An absent or empty array asks for all outputs. @throws {InvalidInputError} */
export function readRequestedOutputs(value: unknown): RequestedOutput[] {
  if (value === undefined) return [];
  return readArray(value, "outputs", "an array of {name}").map((item, i) => {
    const output = asObject(item, `outputs[${i}]`);
    const name = readName(output.name, `outputs[${i}].name`);
    if (output.parameters === undefined) return { name, binary: undefined, classes: 0 };
    const field = `outputs["${name}"].parameters`;
    const { binary_data, classification, shared_memory_region } = readParameters(output.parameters, field);
    refuseSharedMemory(shared_memory_region, field);
    return {
      name,
      binary: binary_data === undefined ? undefined : readBoolean(binary_data, `${field}.binary_data`),
      classes: classification === undefined ? 0 : readCount(classification, `${field}.classification`),
    };
  });
}

/** @param field the parameters that name a region */
export function refuseSharedMemory(region: unknown, field: string): void {
  if (region === undefined) return;
  throw new InvalidInputError({
    field: `${field}.shared_memory_region`,
    received: describeJson(region),
    expected: "no such parameter: shared memory is not supported, send and take binary data",
  });
}

export function isBinary({ binary, outputs }: AnswerForm, name: string): boolean {
  // There are few outputs: a look through them costs less than a map.
  for (const output of outputs) if (output.name === name) return output.binary ?? binary;
  return binary;
}

export function wantsClasses({ outputs }: AnswerForm): boolean {
  return outputs.some(({ classes }) => classes > 0);
}

/** The answer's outputs, with classes where the request wants them. @throws {InvalidInputError} */
export function classified(
  outputs: readonly Tensor[],
  form: AnswerForm,
  { labels, outputs: specs }: Pick<ModelMetadata, "labels" | "outputs">,
): Tensor[] {
  return outputs.map((tensor) => {
    const wanted = form.outputs.find(({ name }) => name === tensor.name);
    if (wanted === undefined || wanted.classes === 0) return tensor;
    const batched = specs.find(({ name }) => name === tensor.name)?.shape[0] === -1;
    return classify(tensor, wanted.classes, labels, batched);
  });
}
