/**
 * The tensors a configuration declares against those the model file has: names, element types and sizes must agree.
 * Where requests may be batched, Triton's shapes leave the first dimension out. A declaration may say less than the
 * file (leave tensors out), and either may leave a size open that the other states.
 */

import { InvalidInputError } from "../errors.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { formatShape, type TensorSpec } from "../tensor/tensor.ts";
import { CONFIG_FILE, type TritonModel } from "./triton-configuration.ts";
import type { DeclaredTensor } from "./triton-ensemble.ts";

/** What a configuration says of a model's tensors. */
export type Declarations = Pick<TritonModel, "inputs" | "outputs" | "batched">;

/** @throws {InvalidInputError} naming the tensor */
export function checkDeclared({ inputs, outputs, batched }: Declarations, signature: ModelSignature): void {
  if (batched) checkBatch([...signature.inputs, ...signature.outputs]);
  for (const tensor of inputs) checkTensor("input", tensor, signature.inputs, batched);
  for (const tensor of outputs) checkTensor("output", tensor, signature.outputs, batched);
}

/** Outputs without any sizes have a rank that the file does not state. */
function checkBatch(specs: readonly TensorSpec[]): void {
  const fixed = specs.find(({ shape }) => shape.length > 0 && shape[0] !== -1);
  if (fixed)
    refuse(
      "max_batch_size",
      `more than 0, where "${fixed.name}" has the shape ${formatShape(fixed.shape)}`,
      "0, or a model whose tensors all have a free first dimension",
    );
}

function checkTensor(
  role: string,
  { name, dataType, dims }: DeclaredTensor,
  specs: readonly TensorSpec[],
  batched: boolean | undefined,
): void {
  const spec = specs.find((candidate) => candidate.name === name);
  const known = specs.map((candidate) => JSON.stringify(candidate.name)).join(", ");
  if (!spec) refuse(`${role}.name`, JSON.stringify(name), `one of the model's: ${known}`);
  const field = `${role} "${name}"`;
  const type = spec.datatype === "BYTES" ? "TYPE_STRING" : `TYPE_${spec.datatype}`;
  if (dataType !== undefined && dataType !== type) refuse(`${field}: data_type`, dataType, type);
  const { shape } = spec;
  if (dims === undefined || (role === "output" && shape.length === 0)) return;
  const whole = batched !== true && agree(dims, shape);
  const withoutBatch = batched !== false && shape[0] === -1 && agree(dims, shape.slice(1));
  if (whole || withoutBatch) return;
  const expected = formatShape(batched ? shape.slice(1) : shape);
  refuse(`${field}: dims`, formatShape(dims), `${expected}${batched ? ", the batch left out" : ""}`);
}

function agree(declared: readonly number[], shape: readonly number[]): boolean {
  return (
    declared.length === shape.length &&
    declared.every((size, axis) => size === -1 || shape[axis] === -1 || size === shape[axis])
  );
}

function refuse(field: string, received: string, expected: string): never {
  throw new InvalidInputError({ field: `${CONFIG_FILE}: ${field}`, received, expected });
}
