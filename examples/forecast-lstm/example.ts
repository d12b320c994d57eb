/**
 * A forecast: tomorrow's highest temperature in Seattle from the two weeks before, by an LSTM. It must beat both
 * saying today's and saying that of a year ago (seattle.ts says how the series is parted).
 */

import { join } from "node:path";
import { countsOf, type Example, regressionOf } from "../example.ts";
import network from "./network.json" with { type: "json" };
import { prepareSeattle } from "./seattle.ts";

const FULL = { trainDays: undefined, epochs: 30, share: 0.97 };
const SMOKE = { trainDays: 400, epochs: 10, share: 1.1 };
const BATCH_SIZE = 32;

export default {
  title: "Seattle weather: tomorrow's highest temperature, by an LSTM",

  async run({ smoke, train, datasetsDirectory }) {
    const { trainDays, epochs, share } = smoke ? SMOKE : FULL;
    const dataset = "seattle-weather";
    const { persistence, seasonalNaive } = await prepareSeattle(join(datasetsDirectory, dataset), trainDays);
    const { metrics, lineage } = await train({
      model: "forecast-lstm",
      architecture: network,
      data: { dataset },
      // What is scored is the absolute error.
      loss: "mean_absolute_error",
      optimizer: { class_name: "Adam", config: { learning_rate: 0.002 } },
      epochs,
      batchSize: BATCH_SIZE,
    });
    const { mae, rmse } = regressionOf(metrics);
    const best = Math.min(persistence, seasonalNaive);
    return {
      data: {
        ...countsOf(lineage),
        source: "npm vega-datasets, seattle-weather.csv",
        split: "by time: until 2014 to train on, 2015 for the test",
      },
      scores: { mae, rmse, persistenceMae: persistence, seasonalNaiveMae: seasonalNaive, ratio: mae / best },
      aim: `mean absolute error (degrees Celsius) <= ${share} of the better of persistence and seasonal-naive`,
      holds: mae <= share * best,
    };
  },
} satisfies Example;
