/**
 * A folder with a `dataset.json` as a data set. Counts, shapes, types and every value are checked before the first
 * example is given: what could not be trained on is refused by file and field.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatasetCorruptError, DatasetNotFoundError, errorMessage } from "../errors.ts";
import { formatShape } from "../tensor/tensor.ts";
import type { ArrayFile } from "./array-file.ts";
import { ArrayFiles } from "./array-files.ts";
import {
  type ColumnSource,
  DECLARATION,
  type Declaration,
  type DeclaredColumn,
  type DeclaredTarget,
  PARTS,
  type Part,
  parseDeclaration,
} from "./declaration.ts";
import type { Column, Examples } from "./examples.ts";
import { classNumbers, finite, isFloat, weights } from "./inspections.ts";
import type { OpenedDataset } from "./opened-dataset.ts";

/** Reads the folder's declaration. @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function readDeclaration(
  name: string,
  folder: string,
): Promise<{ declaration: Declaration; bytes: Uint8Array }> {
  const file = join(folder, DECLARATION);
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new DatasetNotFoundError(name, errorMessage(error));
  });
  return { declaration: parseDeclaration(file, bytes.toString()), bytes };
}

/** Every file a declaration names, once, in the order in which they are read. */
export function declaredFiles(
  { inputs, targets, weights }: Declaration,
  parts: readonly Part[] = PARTS,
): string[] {
  const columns = [...inputs, ...targets, weights];
  return [...new Set(columns.flatMap((column) => parts.flatMap((part) => column[part]?.file ?? [])))];
}

/** @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function openDeclared(
  name: string,
  folder: string,
  parts: readonly Part[],
  maxMemoryBytes: number,
): Promise<OpenedDataset> {
  const { declaration, bytes } = await readDeclaration(name, folder);
  const files = new ArrayFiles(name);
  try {
    files.addToDigest(bytes);
    const array = ({ file }: ColumnSource) => files.open(join(folder, file));
    for (const file of declaredFiles(declaration)) files.open(join(folder, file));
    const counts = { train: count("train", declaration, array), test: count("test", declaration, array) };
    for (const column of declaration.inputs) {
      assertAlike(column, array);
      inspectColumn(files, column, array, finiteIfFloat);
    }
    for (const target of declaration.targets) {
      assertAlike(target, array);
      inspectColumn(files, target, array, (values, field) => inspectionOf(target, values, field));
    }
    inspectColumn(files, declaration.weights, array, (values, field) => {
      if (values.datatype !== "FP32" || values.rowShape.length > 0)
        refuse(values, `${field}: ${described(values)}`, "FP32 [], one number for every example");
      return weights(values, field);
    });
    const digest = files.load(
      declaredFiles(declaration, parts).map((file) => files.open(join(folder, file))),
      maxMemoryBytes,
    );
    const examples = (part: Part): Examples => ({
      count: counts[part],
      inputs: declaration.inputs.map((column) => columnOf(column.name, column[part], array)),
      targets: declaration.targets.map(({ labelNames, ...column }) => ({
        ...columnOf(column.name, column[part], array),
        ...(labelNames ? { labelNames } : {}),
      })),
      ...(declaration.weights[part]
        ? { weights: columnOf("weights", declaration.weights[part], array) }
        : {}),
    });
    return { digest, examples, close: () => files.close() };
  } catch (error) {
    await files.close();
    throw error;
  }
}

type OpenArray = (source: ColumnSource) => ArrayFile;

function columnOf(name: string, source: ColumnSource, array: OpenArray): Column {
  return array(source).column(name, ...(source.rows ?? []));
}

/** How many examples a part has; every column of it must have as many. */
function count(part: Part, { inputs, targets, weights }: Declaration, array: OpenArray): number {
  const sources = [...inputs, ...targets, weights].flatMap((column) => column[part] ?? []);
  const countOf = (source: ColumnSource): number => {
    const values = array(source);
    if (source.rows && source.rows[1] > values.rows)
      refuse(
        values,
        `${values.rows} rows`,
        `${source.rows[1]} or more, as rows.${part} of ${source.field} says`,
      );
    return source.rows ? source.rows[1] - source.rows[0] : values.rows;
  };
  const [first, ...others] = sources as [ColumnSource, ...ColumnSource[]];
  const expected = countOf(first);
  if (expected === 0) refuse(array(first), `${first.field}: no examples`, "at least one");
  if (expected >= 2 ** 32) refuse(array(first), `${first.field}: ${expected} examples`, "fewer than 2^32");
  for (const source of others)
    if (countOf(source) !== expected)
      refuse(array(source), `${source.field}: ${countOf(source)} rows`, `${expected} as ${first.field} has`);
  return expected;
}

/** Training and test examples are of one shape and type. */
function assertAlike({ train, test }: DeclaredColumn, array: OpenArray): void {
  const [expected, received] = [described(array(train)), described(array(test))];
  if (received !== expected)
    refuse(array(test), `${test.field}: examples of ${received}`, `${expected} as ${train.field} has`);
}

function inspectColumn(
  files: ArrayFiles,
  column: Partial<Record<Part, ColumnSource>>,
  array: OpenArray,
  inspection: (values: ArrayFile, field: string) => ReturnType<typeof finite> | undefined,
): void {
  for (const part of PARTS) {
    const source = column[part];
    // A column in one file is looked at once.
    if (!source || (part === "test" && source.file === column.train?.file)) continue;
    const inspect = inspection(array(source), source.field);
    if (inspect) files.inspect(array(source), inspect);
  }
}

function finiteIfFloat(values: ArrayFile, field: string) {
  return isFloat(values.datatype) ? finite(values, field) : undefined;
}

function inspectionOf({ labelNames }: DeclaredTarget, values: ArrayFile, field: string) {
  if (!labelNames) return finiteIfFloat(values, field);
  if (isFloat(values.datatype))
    return refuse(values, `${field}: ${described(values)}`, "integers, as they are numbers of labelNames");
  return classNumbers(values, field, labelNames.length);
}

function described({ datatype, rowShape }: ArrayFile): string {
  return `${datatype} ${formatShape(rowShape)}`;
}

function refuse({ file }: ArrayFile, received: string, expected: string): never {
  throw new DatasetCorruptError(file, { received, expected });
}
