/**
 * Who writes and who reads each tensor of an ensemble, and the order this puts its steps in. Refused by name: tensors
 * nobody writes, or more than one; tensors and steps nothing comes of; steps that wait for themselves.
 */

import { InvalidInputError } from "../errors.ts";
import type { Ensemble, EnsembleStep } from "../protocol/ensembles.ts";

/** Tensors a step reads from outside itself, and those it writes: each once. */
export type Wiring = { reads: string[]; writes: string[] };

export function wiringOf(step: EnsembleStep): Wiring {
  if ("model" in step)
    return { reads: [...new Set(Object.values(step.inputs))], writes: Object.values(step.outputs) };
  const writes = step.operators.flatMap(({ outputs = [] }) => outputs);
  const own = new Set(writes);
  const reads = new Set(step.operators.flatMap(({ inputs = [] }) => inputs));
  return { reads: [...reads].filter((tensor) => !own.has(tensor)), writes };
}

/** @throws {InvalidInputError} */
export function checkDataflow(ensemble: Ensemble): void {
  const { inputs, outputs, steps } = ensemble;
  const writers = new Map<string, string>(inputs.map(({ name }) => [name, "the ensemble's inputs"]));
  for (const [i, step] of steps.entries())
    for (const tensor of wiringOf(step).writes) {
      const before = writers.get(tensor);
      if (before !== undefined)
        fail(
          `ensemble.steps[${i}].outputs`,
          `'${tensor}', which is written by ${before}`,
          "tensors of which each is written once",
        );
      writers.set(tensor, `step '${step.name}'`);
    }
  const read = new Set(outputs.map(({ name }) => name));
  for (const [i, step] of steps.entries()) {
    for (const tensor of wiringOf(step).reads) {
      if (!writers.has(tensor)) unknown(`ensemble.steps[${i}].inputs`, tensor, writers);
      read.add(tensor);
    }
    if ("operators" in step) checkSequence(step.operators, `ensemble.steps[${i}]`, read);
  }
  for (const [i, { name }] of outputs.entries()) {
    if (!writers.has(name)) unknown(`ensemble.outputs[${i}].name`, name, writers);
    if (inputs.some((input) => input.name === name))
      fail(`ensemble.outputs[${i}].name`, `the input '${name}'`, "a tensor that a step writes");
  }
  for (const [i, { name }] of inputs.entries())
    if (!read.has(name)) fail(`ensemble.inputs[${i}].name`, `'${name}', which no step reads`, "none unused");
  for (const [i, step] of steps.entries()) {
    const unused = wiringOf(step).writes.filter((tensor) => !read.has(tensor));
    if (unused.length > 0)
      fail(`ensemble.steps[${i}].outputs`, `${list(unused)}, which nothing reads`, "none unused");
  }
  stepOrder(ensemble);
}

/** Operators of one step run in their order: what one reads of its own step must have been written before. */
function checkSequence(
  operators: readonly { inputs?: string[]; outputs?: string[] }[],
  field: string,
  read: Set<string>,
): void {
  const own = new Set(operators.flatMap(({ outputs = [] }) => outputs));
  const written = new Set<string>();
  for (const [i, { inputs = [], outputs = [] }] of operators.entries()) {
    for (const tensor of inputs)
      if (own.has(tensor) && !written.has(tensor))
        fail(
          `${field}.operators[${i}].inputs`,
          `'${tensor}', which is written later in the same step`,
          "tensors that are there by then",
        );
      else if (own.has(tensor)) read.add(tensor);
    for (const tensor of outputs) written.add(tensor);
  }
}

/**
 * The steps, each after those whose tensors it reads; otherwise in the order they are written.
 * @throws {InvalidInputError} naming the steps that wait for themselves
 */
export function stepOrder({ steps }: Ensemble): EnsembleStep[] {
  const before = stepsBefore(steps);
  const ordered: EnsembleStep[] = [];
  const done = new Set<EnsembleStep>();
  const path: EnsembleStep[] = [];
  const visit = (step: EnsembleStep): void => {
    if (done.has(step)) return;
    if (path.includes(step))
      fail(
        "ensemble.steps",
        [...path.slice(path.indexOf(step)), step].map(({ name }) => name).join(" after "),
        "no step that waits for itself",
      );
    path.push(step);
    for (const earlier of before.get(step)!) visit(earlier);
    path.pop();
    done.add(step);
    ordered.push(step);
  };
  for (const step of steps) visit(step);
  return ordered;
}

/** For every step those whose tensors it reads. */
export function stepsBefore(steps: readonly EnsembleStep[]): Map<EnsembleStep, Set<EnsembleStep>> {
  const writer = new Map(steps.flatMap((step) => wiringOf(step).writes.map((tensor) => [tensor, step])));
  return new Map(
    steps.map((step) => [
      step,
      new Set(
        wiringOf(step).reads.flatMap((tensor) => {
          const earlier = writer.get(tensor);
          return earlier ? [earlier] : [];
        }),
      ),
    ]),
  );
}

function unknown(field: string, tensor: string, writers: ReadonlyMap<string, string>): never {
  return fail(field, `'${tensor}', which nothing writes`, `one of ${list([...writers.keys()])}`);
}

function list(tensors: readonly string[]): string {
  return tensors.map((tensor) => `'${tensor}'`).join(", ");
}

function fail(field: string, received: string, expected: string): never {
  throw new InvalidInputError({ field, received, expected });
}
