/** A named, typed, row-major tensor: what every service of Moiety exchanges. */

import { InvalidInputError } from "../errors.ts";
import { type Datatype, holds, isDatatype, type TensorData } from "./datatype.ts";

export type Tensor = { name: string; datatype: Datatype; shape: number[]; data: TensorData };

/** What a model takes or gives; -1 marks a dimension that may vary (the batch comes first). */
export type TensorSpec = { name: string; datatype: Datatype; shape: number[] };

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(",")}]`;
}

/**
 * Checks that `value` is a well-formed tensor: known datatype, non-negative integer shape, matching array type
 * and length. `field` names it in the error.
 * @throws {InvalidInputError}
 */
export function assertTensor(value: unknown, field: string): asserts value is Tensor {
  const tensor = value as Partial<Tensor> | null;
  const fail = (part: string, received: unknown, expected: string): never => {
    throw new InvalidInputError({ field: `${field}.${part}`, received: String(received), expected });
  };
  if (typeof tensor !== "object" || tensor === null)
    throw new InvalidInputError({
      field,
      received: String(value),
      expected: "a tensor {name, datatype, shape, data}",
    });
  if (typeof tensor.name !== "string" || tensor.name === "") fail("name", tensor.name, "a non-empty string");
  if (!isDatatype(tensor.datatype)) return fail("datatype", tensor.datatype, "a datatype such as FP32");
  if (!Array.isArray(tensor.shape) || !tensor.shape.every((d) => Number.isSafeInteger(d) && d >= 0))
    return fail("shape", JSON.stringify(tensor.shape), "an array of non-negative integers");
  if (!holds(tensor.datatype, tensor.data))
    return fail(
      "data",
      (tensor.data as object | undefined)?.constructor?.name,
      `the array type of ${tensor.datatype}`,
    );
  if (tensor.data.length !== elementCount(tensor.shape))
    fail(
      "data",
      `${tensor.data.length} elements`,
      `${elementCount(tensor.shape)} for shape ${formatShape(tensor.shape)}`,
    );
}

/**
 * Checks a tensor against what the model declares: name, datatype, rank and every fixed dimension.
 * @throws {InvalidInputError}
 */
export function assertMatches(tensor: Tensor, spec: TensorSpec): void {
  const field = `inputs["${spec.name}"]`;
  if (tensor.datatype !== spec.datatype)
    throw new InvalidInputError({
      field: `${field}.datatype`,
      received: tensor.datatype,
      expected: spec.datatype,
    });
  const fits =
    tensor.shape.length === spec.shape.length &&
    spec.shape.every((size, axis) => size === -1 || size === tensor.shape[axis]);
  if (!fits)
    throw new InvalidInputError({
      field: `${field}.shape`,
      received: formatShape(tensor.shape),
      expected: `${formatShape(spec.shape)} (-1 is any size)`,
    });
}
