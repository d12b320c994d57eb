/**
 * MNIST in two: the digits 0 to 4, of which there are many to learn from, and 5 to 9, of which the first few of each
 * are given. The test images are as published, parted the same way.
 */

import { join } from "node:path";
import { loadDataset } from "../../lib/data/datasets.ts";
import { type Examples, rowRange, rowsOf } from "../../lib/data/examples.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";

const PARTS = { low: [0, 1, 2, 3, 4], high: [5, 6, 7, 8, 9] };

/** Writes the data sets `digits-low` and `digits-high`. @param perDigit training images of each, the first */
export async function prepareDigits(
  directory: string,
  perDigit: { low: number; high: number; test: number },
): Promise<void> {
  const mnist = await loadDataset("mnist", undefined);
  try {
    for (const [name, digits] of Object.entries(PARTS) as [keyof typeof PARTS, number[]][]) {
      const train = arraysOf(mnist.train, digits, perDigit[name]);
      const test = arraysOf(mnist.test, digits, perDigit.test);
      await writeDataset(join(directory, `digits-${name}`), {
        inputs: { image: { train: train.images, test: test.images } },
        targets: { digit: { train: train.classes, test: test.classes, labelNames: digits.map(String) } },
      });
    }
  } finally {
    await mnist.close();
  }
}

/** The first images of each of the digits, in their order, with the digits' places in the list as classes. */
function arraysOf({ inputs, targets, count }: Examples, digits: readonly number[], limit: number) {
  const labels = rowsOf(targets[0]!, rowRange(0, count)) as Uint8Array;
  const seen = new Map<number, number>();
  const rows = rowRange(0, count).filter((row) => {
    const label = labels[row]!;
    seen.set(label, (seen.get(label) ?? 0) + 1);
    return digits.includes(label) && seen.get(label)! <= limit;
  });
  const { shape } = inputs[0]!;
  return {
    images: { datatype: "UINT8" as const, shape: [rows.length, ...shape], data: rowsOf(inputs[0]!, rows) },
    classes: {
      datatype: "UINT8" as const,
      shape: [rows.length],
      data: Uint8Array.from(rows, (row) => digits.indexOf(labels[row]!)),
    },
  };
}
