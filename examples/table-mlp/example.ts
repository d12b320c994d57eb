/**
 * A table: which species a penguin is, from its measurements, island and sex (penguins.ts says how they are prepared),
 * by two dense layers. Saying the commonest species every time is the baseline.
 */

import { join } from "node:path";
import { classificationOf, countsOf, type Example } from "../example.ts";
import network from "./network.json" with { type: "json" };
import { preparePenguins } from "./penguins.ts";

const AIM = 0.95;

export default {
  title: "Palmer penguins: species from a table, by a dense network",

  async run({ smoke, train, datasetsDirectory }) {
    const { majorityAccuracy } = await preparePenguins(join(datasetsDirectory, "penguins"));
    const { metrics, lineage } = await train({
      model: "table-mlp",
      architecture: network,
      data: { dataset: "penguins" },
      optimizer: { class_name: "Adam", config: { learning_rate: 0.01 } },
      epochs: smoke ? 10 : 40,
      batchSize: 16,
    });
    const { accuracy, loss, macro } = classificationOf(metrics);
    return {
      data: {
        ...countsOf(lineage),
        source: "npm vega-datasets, penguins.json",
        split: "random rows, a quarter for the test, seed 1",
      },
      scores: { accuracy, loss, macroF1: macro.f1, majorityAccuracy },
      aim: `accuracy on the test birds >= ${AIM}, and above the commonest species' share`,
      holds: accuracy >= AIM && accuracy > majorityAccuracy,
    };
  },
} satisfies Example;
