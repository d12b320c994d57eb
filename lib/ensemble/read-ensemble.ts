/**
 * An ensemble as someone wrote it, checked: unknown fields, wrong types, tensors nobody writes or two steps write,
 * tensors nobody reads, and steps that wait for themselves are refused by name. What steps' models take and give is
 * not known here; `typing.ts` compares with that.
 */

import type { Ensemble, EnsembleStep, ModelStep, OperatorCall, OperatorStep } from "../protocol/ensembles.ts";
import { objectOf, own, readFields, refuse } from "../registry/fields.ts";
import { ALIAS_NAME, MODEL_NAME, parseVersionNumber } from "../registry/model-names.ts";
import { DATATYPES, isDatatype } from "../tensor/datatype.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { checkDataflow } from "./dataflow.ts";
import { OPERATORS } from "./operators/table.ts";

/** Steps of one ensemble, and operators of one step. */
export const MAX_STEPS = 64;
/** Inputs or outputs of an ensemble, of a step, of an operator. */
const MAX_TENSORS = 64;
const MAX_RANK = 8;
const MAX_NAME = 256;
const MAX_SIZE = 2 ** 31 - 1;

/** @throws {InvalidInputError} naming the field, what came and what was expected */
export function readEnsemble(value: unknown): Ensemble {
  const field = "ensemble";
  const { inputs, outputs, steps } = readFields(value, field, {
    inputs: ANY,
    outputs: ANY,
    steps: ANY,
  });
  const ensemble: Ensemble = {
    inputs: readSpecs(inputs, `${field}.inputs`),
    outputs: readSpecs(outputs, `${field}.outputs`),
    steps: listOf(steps, `${field}.steps`, MAX_STEPS, "steps").map((step, i) =>
      readStep(step, `${field}.steps[${i}]`),
    ),
  };
  const names = new Set<string>();
  for (const [i, { name }] of ensemble.steps.entries()) {
    if (names.has(name)) refuse(`${field}.steps[${i}].name`, name, "a name no other step has");
    names.add(name);
  }
  checkDataflow(ensemble);
  return ensemble;
}

const ANY = { expected: "", accepts: () => true };

function readSpecs(value: unknown, field: string): TensorSpec[] {
  const specs = listOf(value, field, MAX_TENSORS, "tensors {name, datatype, shape}").map((item, i) =>
    readSpec(item, `${field}[${i}]`),
  );
  for (const [i, { name }] of specs.entries())
    if (specs.findIndex((spec) => spec.name === name) !== i)
      refuse(`${field}[${i}].name`, name, "every name once");
  return specs;
}

function readSpec(value: unknown, field: string): TensorSpec {
  const { name, datatype, shape } = readFields(value, field, { name: ANY, datatype: ANY, shape: ANY });
  if (!isDatatype(datatype)) return refuse(`${field}.datatype`, datatype, `one of ${DATATYPES.join(", ")}`);
  const isSize = (size: unknown) =>
    Number.isInteger(size) && (size === -1 || ((size as number) > 0 && (size as number) <= MAX_SIZE));
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !Array.from(shape).every(isSize))
    refuse(`${field}.shape`, shape, `at most ${MAX_RANK} sizes from 1, or -1 for any`);
  return { name: tensorName(name, `${field}.name`), datatype, shape: [...(shape as number[])] };
}

function readStep(value: unknown, field: string): EnsembleStep {
  const given = objectOf(value, field);
  const name = given.name;
  if (typeof name !== "string" || !MODEL_NAME.test(name))
    return refuse(`${field}.name`, name, "1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit");
  if ("operators" in given === "model" in given)
    refuse(field, Object.keys(given), 'either "model", with "inputs" and "outputs", or "operators"');
  return "model" in given ? readModelStep(given, name, field) : readOperatorStep(given, name, field);
}

function readModelStep(value: unknown, name: string, field: string): ModelStep {
  const given = readFields(value, field, {
    name: ANY,
    model: {
      expected: "a model's name",
      accepts: (model) => typeof model === "string" && MODEL_NAME.test(model),
    },
    version: {
      expected: "a version number in digits, or an alias",
      accepts: (version) =>
        typeof version === "string" &&
        (parseVersionNumber(version) !== undefined || ALIAS_NAME.test(version)),
    },
    inputs: ANY,
    outputs: ANY,
  });
  const step: ModelStep = {
    name,
    model: given.model as string,
    inputs: readMap(given.inputs, `${field}.inputs`, "an object {input of the model: tensor}"),
    outputs: readMap(given.outputs, `${field}.outputs`, "an object {output of the model: tensor}"),
  };
  if (given.version !== undefined) step.version = given.version as string;
  return step;
}

function readMap(value: unknown, field: string, expected: string): Record<string, string> {
  const entries =
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.entries(value);
  if (!entries || entries.length === 0 || entries.length > MAX_TENSORS) return refuse(field, value, expected);
  return Object.fromEntries(
    entries.map(([key, tensor]) => [
      tensorName(key, `${field} key`),
      tensorName(tensor, `${field}[${JSON.stringify(key)}]`),
    ]),
  );
}

function readOperatorStep(value: unknown, name: string, field: string): OperatorStep {
  const { operators } = readFields(value, field, { name: ANY, operators: ANY });
  const calls = listOf(operators, `${field}.operators`, MAX_STEPS, "operators").map((call, i, all) =>
    readOperator(call, `${field}.operators[${i}]`, all, i),
  );
  return { name, operators: calls };
}

function readOperator(value: unknown, field: string, all: readonly unknown[], at: number): OperatorCall {
  const given = objectOf(value, field);
  const operator = given.operator;
  if (typeof operator !== "string" || !Object.hasOwn(OPERATORS, operator))
    return refuse(`${field}.operator`, operator, `one of ${Object.keys(OPERATORS).join(", ")}`);
  const { options, required, inputs: arity, outputs: results } = OPERATORS[operator]!;
  const read: OperatorCall = { operator };
  for (const [key, option] of Object.entries(given)) {
    if (key === "operator") continue;
    if (key === "inputs") read.inputs = names(option, `${field}.inputs`, ...arity);
    else if (key === "outputs") read.outputs = names(option, `${field}.outputs`, 1, results);
    else {
      const { accepts, expected } = own(options, key, field, ["operator", "inputs", "outputs"]);
      if (!accepts(option)) refuse(`${field}.${key}`, option, expected);
      read[key] = option;
    }
  }
  for (const key of required)
    if (read[key] === undefined) refuse(`${field}.${key}`, undefined, options[key]!.expected);
  if (!read.inputs && (at === 0 || arity[0] > 1))
    refuse(`${field}.inputs`, undefined, `the names of the ${arity[0] > 1 ? "tensors" : "tensor"} it reads`);
  const next = all[at + 1] as { inputs?: unknown } | undefined;
  if (!read.outputs && (next === undefined || next?.inputs !== undefined))
    refuse(`${field}.outputs`, undefined, "the names of the tensors it writes: nothing reads its result");
  return read;
}

function names(value: unknown, field: string, least: number, most: number): string[] {
  if (!Array.isArray(value) || value.length < least || value.length > most)
    return refuse(
      field,
      value,
      least === most ? `${least} tensor name(s)` : `${least} to ${most} tensor names`,
    );
  return Array.from(value, (name, i) => tensorName(name, `${field}[${i}]`));
}

function tensorName(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "" || value.length > MAX_NAME)
    return refuse(field, value, `a tensor's name of 1 to ${MAX_NAME} characters`);
  return value;
}

function listOf(value: unknown, field: string, most: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > most)
    return refuse(field, value, `an array of 1 to ${most} ${what}`);
  // Holes too: what comes from within the process need not have been JSON.
  return Array.from(value);
}
