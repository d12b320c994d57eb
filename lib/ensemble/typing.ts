/**
 * What is in each tensor of an ensemble, found out step by step from its inputs and its models' signatures, and
 * compared with what each step takes. Where a model is not known yet, what depends on it is not known either, and
 * passes; what is known and does not fit is refused.
 */

import { InvalidModelError } from "../errors.ts";
import type { Ensemble, ModelStep } from "../protocol/ensembles.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { formatShape, type TensorSpec } from "../tensor/tensor.ts";
import { stepOrder, wiringOf } from "./dataflow.ts";
import { buildOperators } from "./operator-graph.ts";

/** What a step's model takes and gives; undefined where that is not known. */
export type SignatureOf = (step: ModelStep) => ModelSignature | undefined;

/**
 * Every tensor whose type is known, by name.
 * @throws {InvalidModelError} naming the step, what it gets and what it takes
 */
export function typesOf(ensemble: Ensemble, signatureOf: SignatureOf): Map<string, TensorSpec> {
  const types = new Map(ensemble.inputs.map((spec) => [spec.name, spec]));
  for (const step of stepOrder(ensemble))
    if ("model" in step) typeModelStep(step, signatureOf(step), types);
    else {
      const inputs = wiringOf(step).reads.map((tensor) => types.get(tensor));
      if (inputs.some((spec) => spec === undefined)) continue;
      for (const spec of buildOperators([step], inputs as TensorSpec[]).outputs) types.set(spec.name, spec);
    }
  for (const declared of ensemble.outputs) {
    const made = types.get(declared.name);
    if (made && !fits(made, declared))
      throw new InvalidModelError(
        `output '${declared.name}' of the ensemble`,
        `it is declared as ${shown(declared)}, but the step gives ${shown(made)}`,
      );
  }
  return types;
}

function typeModelStep(
  step: ModelStep,
  signature: ModelSignature | undefined,
  types: Map<string, TensorSpec>,
): void {
  if (!signature) return;
  const where = `step '${step.name}'`;
  const refuse = (reason: string): never => {
    throw new InvalidModelError(where, reason);
  };
  const names = (specs: readonly TensorSpec[]) => specs.map(({ name }) => `'${name}'`).join(", ");
  for (const [input, tensor] of Object.entries(step.inputs)) {
    const taken =
      signature.inputs.find(({ name }) => name === input) ??
      refuse(`model '${step.model}' has no input '${input}', only ${names(signature.inputs)}`);
    const given = types.get(tensor);
    if (given && !fits(given, taken))
      refuse(
        `input '${input}' of model '${step.model}' is ${shown(taken)}, but tensor '${tensor}' is ${shown(given)}`,
      );
  }
  const missing = signature.inputs.filter(({ name }) => !Object.hasOwn(step.inputs, name));
  if (missing.length > 0) refuse(`input ${names(missing)} of model '${step.model}' is given no tensor`);
  for (const [output, tensor] of Object.entries(step.outputs)) {
    const given =
      signature.outputs.find(({ name }) => name === output) ??
      refuse(`model '${step.model}' has no output '${output}', only ${names(signature.outputs)}`);
    types.set(tensor, { ...given, name: tensor });
  }
}

/**
 * Whether what is given may be what is taken: equal types and ranks, and sizes that are equal or free. An empty shape
 * is a scalar's, or one that a model's file does not state.
 */
function fits(given: TensorSpec, taken: TensorSpec): boolean {
  const { shape } = given;
  if (given.datatype !== taken.datatype) return false;
  if (shape.length === 0 || taken.shape.length === 0) return true;
  return (
    shape.length === taken.shape.length &&
    shape.every((size, axis) => size === taken.shape[axis] || size === -1 || taken.shape[axis] === -1)
  );
}

function shown({ datatype, shape }: TensorSpec): string {
  return `${datatype}${formatShape(shape)}`;
}
