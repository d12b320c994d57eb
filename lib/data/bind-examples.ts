/**
 * Which column of a data set feeds which input of a network, and which target each output is compared with: the one
 * named in the request, else the one of the same name, else, where there is only one, that one. Refuses columns that
 * are missing or do not fit, and classes the network cannot tell apart.
 */

import { InvalidInputError } from "../errors.ts";
import { elementCount } from "../tensor/tensor.ts";
import { type Column, type ColumnSpec, type Examples, rowRange, rowsOf, type Target } from "./examples.ts";

/** What is fed and compared: names and shapes of one example; -1 for a size that may vary. */
export type Ends = {
  /** `idLimit`: the values are ids from 0 to below it. */
  inputs: readonly { name: string; shape: readonly number[]; idLimit?: number | undefined }[];
  outputs: readonly { name: string; shape: readonly number[] }[];
};

/** Column names by input or output name. */
export type ColumnChoice = {
  inputs?: Readonly<Record<string, string>>;
  targets?: Readonly<Record<string, string>>;
};

/**
 * The examples with one input for each of the network's and one target for each of its outputs, in their order.
 * @throws {InvalidInputError} naming the column
 */
export function bindExamples(ends: Ends, examples: Examples, choice: ColumnChoice = {}): Examples {
  const all = [...examples.inputs, ...examples.targets];
  const { outputs } = ends;
  refuseUnknown("data.inputs", choice.inputs, ends.inputs);
  refuseUnknown("data.targets", choice.targets, outputs);
  const inputs = ends.inputs.map((input) => {
    const only = ends.inputs.length === 1;
    const column = choose("input", input.name, only, examples.inputs, all, choice.inputs);
    const field = `data.inputs.${column.name}`;
    assertShape(field, column, input.shape, `the network's input '${input.name}'`);
    if (input.idLimit !== undefined) assertIds(field, column, input.idLimit, examples.count);
    return column;
  });
  const targets = outputs.map(({ name, shape }) => {
    const column: Target = choose(
      "target",
      name,
      outputs.length === 1,
      examples.targets,
      all,
      choice.targets,
    );
    assertTarget(column, name, shape, examples.count);
    return column;
  });
  const { count, weights } = examples;
  return { count, inputs, targets, ...(weights && { weights }) };
}

function refuseUnknown(
  field: string,
  choice: Readonly<Record<string, string>> | undefined,
  known: readonly { name: string }[],
): void {
  for (const name of Object.keys(choice ?? {}))
    if (!known.some((end) => end.name === name))
      throw new InvalidInputError({
        field,
        received: `'${name}'`,
        expected: `one of ${known.map((end) => `'${end.name}'`).join(", ")}, as the network has them`,
      });
}

function choose<C extends ColumnSpec>(
  role: "input" | "target",
  name: string,
  isOnly: boolean,
  columns: readonly C[],
  all: readonly Column[],
  choice: Readonly<Record<string, string>> | undefined,
): C {
  const chosen = choice && Object.hasOwn(choice, name) ? choice[name] : undefined;
  const listed = (of: readonly ColumnSpec[]) => of.map((column) => `'${column.name}'`).join(", ") || "none";
  if (chosen !== undefined) {
    // An input and a target may have one name. An input that serves as a target is compared by value.
    const column = [...columns, ...all].find((candidate) => candidate.name === chosen);
    if (column) return column as unknown as C;
    throw new InvalidInputError({
      field: `data.${role}s.${name}`,
      received: `column '${chosen}'`,
      expected: `one of ${listed(all)}`,
    });
  }
  const column = columns.find((candidate) => candidate.name === name);
  if (column) return column;
  if (isOnly && columns.length === 1) return columns[0]!;
  throw new InvalidInputError({
    field: `data.${role}s`,
    received: listed(columns),
    expected: `a column '${name}', or data.${role}s to say which column is ${role === "input" ? "fed to" : "compared with"} '${name}'`,
  });
}

function hasShape(column: ColumnSpec, shape: readonly number[]): boolean {
  return column.shape.length === shape.length && shape.every((d, i) => d === -1 || d === column.shape[i]);
}

function assertShape(field: string, column: ColumnSpec, shape: readonly number[], of: string): void {
  if (!hasShape(column, shape))
    throw new InvalidInputError({
      field,
      received: `examples of shape [${column.shape.join(",")}]`,
      expected: `[${shape.join(",")}], ${of}`,
    });
}

/** Values looked through at a time for ids and classes that are out of range. */
const SCAN_VALUES = 65_536;

/** Fractions are cut off, as the network does. */
function assertIds(field: string, column: Column, limit: number, count: number): void {
  eachValue(column, count, (id) => {
    if (id <= -1 || id >= limit || Number.isNaN(id))
      throw new InvalidInputError({ field, received: `id ${id}`, expected: `0 to ${limit - 1}` });
  });
}

function eachValue(column: Column, count: number, look: (value: number) => void): void {
  const rows = Math.max(1, Math.floor(SCAN_VALUES / Math.max(1, elementCount(column.shape))));
  for (let from = 0; from < count; from += rows)
    for (const value of rowsOf(column, rowRange(from, Math.min(from + rows, count)))) look(Number(value));
}

function assertTarget(target: Target, output: string, shape: readonly number[], count: number): void {
  const positions = shape.slice(0, -1);
  const outputs = shape.at(-1)!;
  const field = `data.targets.${target.name}`;
  if (shape.length === 0)
    throw new InvalidInputError({
      field: `output '${output}'`,
      received: "[batch]",
      expected: "[batch, ..., outputs]",
    });
  const { labelNames } = target;
  if (!labelNames) {
    if (outputs !== 1 || !hasShape(target, positions))
      assertShape(field, target, shape, `the network's output '${output}'`);
    return;
  }
  assertShape(field, target, positions, `one class for each position of the network's output '${output}'`);
  // One output tells two classes apart.
  const classes = Math.max(outputs, 2);
  if (labelNames.length > classes)
    throw new InvalidInputError({
      field,
      received: `${labelNames.length} classes`,
      expected: `at most ${classes}: output '${output}' has ${outputs}`,
    });
  eachValue(target, count, (label) => {
    if (!Number.isInteger(label) || label < 0 || label >= labelNames.length)
      throw new InvalidInputError({
        field,
        received: `class ${label}`,
        expected: `0 to ${labelNames.length - 1}`,
      });
  });
}
