/**
 * Pieces of clothing: Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017) from Debian's package dataset-fashion-mnist, as
 * its makers parted it: 60,000 images to train on, 10,000 to test. If the package is not installed, its files are
 * fetched from Debian without installing it.
 */

import { access, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { DatasetNotFoundError, errorMessage } from "../../lib/errors.ts";
import { classificationOf, countsOf, type Example } from "../example.ts";
import { debianPackage } from "../packages.ts";
import { adamDecaying } from "../schedule.ts";
import network from "./network.json" with { type: "json" };

const PACKAGE = "dataset-fashion-mnist";
const INSTALLED = "/usr/share/datasets/fashion-mnist";
const DATASET = "fashion-mnist";

const BATCH_SIZE = 64;
const FULL = { epochs: 6, aim: 0.9, trainLimit: 60_000, testLimit: 10_000 };
const SMOKE = { epochs: 1, aim: 0.6, trainLimit: 3000, testLimit: 1000 };

export default {
  title: "Fashion-MNIST: clothes by a convolutional network",

  async run({ smoke, train, datasetsDirectory }) {
    // The four .gz files are a data set as they are.
    const folder = join(datasetsDirectory, DATASET);
    await rm(folder, { force: true });
    await symlink(await fashionFolder(), folder);
    const { epochs, aim, ...limits } = smoke ? SMOKE : FULL;
    const { metrics, lineage } = await train({
      model: "fashion-mnist-cnn",
      architecture: network,
      data: { dataset: DATASET, ...limits },
      optimizer: adamDecaying(0.002, { epochs, batchSize: BATCH_SIZE, trainExamples: limits.trainLimit }),
      epochs,
      batchSize: BATCH_SIZE,
    });
    const { accuracy, loss, macro } = classificationOf(metrics);
    return {
      data: { ...countsOf(lineage), source: `Debian ${PACKAGE}`, split: "as published" },
      scores: { accuracy, loss, macroF1: macro.f1 },
      aim: `accuracy on the test images >= ${aim}`,
      holds: accuracy >= aim,
    };
  },
} satisfies Example;

/** @throws {DatasetNotFoundError} naming the package to install */
async function fashionFolder(): Promise<string> {
  try {
    await access(INSTALLED);
    return INSTALLED;
  } catch {
    // Not installed.
  }
  try {
    return join(await debianPackage(PACKAGE), INSTALLED);
  } catch (error) {
    throw new DatasetNotFoundError(
      DATASET,
      `there is no ${INSTALLED}; install Debian's package: apt-get install ${PACKAGE} (${errorMessage(error)})`,
    );
  }
}
