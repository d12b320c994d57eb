/**
 * A folder of four IDX files as a data set, as MNIST and Fashion-MNIST ship them, plain or .gz: images and one class
 * number for each.
 */

import { access } from "node:fs/promises";
import { join } from "node:path";
import { DatasetCorruptError, DatasetNotFoundError } from "../errors.ts";
import type { ArrayFile } from "./array-file.ts";
import { ArrayFiles } from "./array-files.ts";
import type { Part } from "./declaration.ts";
import type { OpenedDataset } from "./opened-dataset.ts";

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

export type IdxFiles = Record<keyof typeof FILES, string>;

/** The data set's four files. @throws {DatasetNotFoundError} naming the first that is missing */
export async function findIdxFiles(name: string, folder: string): Promise<IdxFiles> {
  const files: Partial<IdxFiles> = {};
  // One after another: the first that is missing is then the first in the list, not the first to answer.
  for (const [role, stem] of Object.entries(FILES) as [keyof typeof FILES, string][])
    files[role] = await findFile(name, folder, stem);
  return files as IdxFiles;
}

/** @throws {DatasetNotFoundError} {DatasetCorruptError} */
export async function openIdx(
  name: string,
  paths: IdxFiles,
  parts: readonly Part[],
  maxMemoryBytes: number,
): Promise<OpenedDataset> {
  const files = new ArrayFiles(name);
  try {
    const open = (images: string, labels: string) => pairOf(files.open(images), files.open(labels));
    const train = open(paths.trainImages, paths.trainLabels);
    const test = open(paths.testImages, paths.testLabels);
    const of = { train, test };
    if (train.shape.join() !== test.shape.join())
      throw new DatasetCorruptError(paths.testImages, {
        received: `examples of [${test.shape.join(",")}]`,
        expected: `[${train.shape.join(",")}] as in the training file`,
      });
    let classes = 1;
    for (const part of parts)
      files.inspect(of[part].labels, (values) => {
        for (const label of values as Uint8Array) if (label >= classes) classes = label + 1;
      });
    const digest = files.load(
      parts.flatMap((part) => [of[part].images, of[part].labels]),
      maxMemoryBytes,
    );
    const known = Object.hasOwn(LABEL_NAMES, name) ? LABEL_NAMES[name] : undefined;
    const labelNames =
      known && known.length >= classes ? [...known] : Array.from({ length: classes }, (_, i) => String(i));
    return {
      digest,
      examples(part) {
        const { images, labels, shape } = of[part];
        return {
          count: images.rows,
          inputs: [images.column("image", 0, images.rows, shape)],
          targets: [{ ...labels.column("label"), labelNames }],
        };
      },
      close: () => files.close(),
    };
  } catch (error) {
    await files.close();
    throw error;
  }
}

function pairOf(images: ArrayFile, labels: ArrayFile) {
  if (images.rows === 0)
    throw new DatasetCorruptError(images.file, { received: "no examples", expected: "at least one" });
  if (labels.rowShape.length > 0 || labels.rows !== images.rows)
    throw new DatasetCorruptError(labels.file, {
      received: `shape [${[labels.rows, ...labels.rowShape].join(",")}]`,
      expected: `[${images.rows}], one label per example`,
    });
  // Images without a channel axis get one, as image layers expect.
  const shape = images.rowShape.length === 2 ? [...images.rowShape, 1] : images.rowShape;
  return { images, labels, shape };
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
