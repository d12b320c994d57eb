/**
 * Daily weather of Seattle, 2012 to 2015 (NOAA, public domain): by how much the highest temperature of a day differs
 * from the day before, from the two weeks before it. The years 2012 to 2014 are to train on, 2015 for the test; no
 * day of the test is seen before, nor used for scaling. The baselines forecast the same days: the day before
 * (persistence), and the same date of the year before (seasonal-naive).
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import { VEGA_DATASETS } from "../npm-data.ts";
import { npmPackage } from "../packages.ts";

type Day = { date: Date; values: number[]; highest: number };

export const WINDOW_DAYS = 14;
const FIRST_TEST_YEAR = 2015;
const SEASON_DAYS = 365;
const MS_PER_DAY = 86_400_000;

export type Baselines = {
  /** Mean absolute errors over the test days, in degrees Celsius. */
  persistence: number;
  seasonalNaive: number;
};

/** Writes the data set; its target is in degrees Celsius. @param trainDays at most so many, the latest */
export async function prepareSeattle(folder: string, trainDays?: number): Promise<Baselines> {
  const days = await readDays();
  const isTest = (index: number) => days[index]!.date.getUTCFullYear() >= FIRST_TEST_YEAR;
  const indices = Array.from(days.keys()).slice(WINDOW_DAYS);
  const train = indices.filter((index) => !isTest(index)).slice(trainDays === undefined ? 0 : -trainDays);
  const test = indices.filter(isTest);
  const scales = days[0]!.values.map((_, k) => scaleOf(train.map((index) => days[index]!.values[k]!)));
  const change = (index: number) => days[index]!.highest - days[index - 1]!.highest;
  const arrays = (of: number[]) => ({
    days: {
      datatype: "FP32" as const,
      shape: [of.length, WINDOW_DAYS, scales.length],
      data: Float32Array.from(
        of.flatMap((index) =>
          days
            .slice(index - WINDOW_DAYS, index)
            .flatMap(({ values }) => values.map((value, k) => scales[k]!(value))),
        ),
      ),
    },
    change: { datatype: "FP32" as const, shape: [of.length, 1], data: Float32Array.from(of, change) },
  });
  const parts = { train: arrays(train), test: arrays(test) };
  await writeDataset(folder, {
    inputs: { days: { train: parts.train.days, test: parts.test.days } },
    targets: { change: { train: parts.train.change, test: parts.test.change } },
  });
  const error = (lag: number) =>
    test.reduce((sum, index) => sum + Math.abs(days[index]!.highest - days[index - lag]!.highest), 0) /
    test.length;
  return { persistence: error(1), seasonalNaive: error(SEASON_DAYS) };
}

/** Temperatures, rain, wind, the sky and the time of the year. */
async function readDays(): Promise<Day[]> {
  const text = await readFile(join(await npmPackage(VEGA_DATASETS), "data/seattle-weather.csv"), "utf8");
  const [head, ...rows] = text.trim().split("\n");
  const names = head!.split(",");
  return rows.map((row) => {
    const cells = row.split(",");
    const cell = (name: string) => cells[names.indexOf(name)]!;
    const number = (name: string) => Number(cell(name));
    const date = new Date(`${cell("date")}T00:00:00Z`);
    const ofYear = (date.getTime() - Date.UTC(date.getUTCFullYear(), 0)) / MS_PER_DAY;
    const angle = (2 * Math.PI * ofYear) / 365.25;
    const highest = number("temp_max");
    return {
      date,
      highest,
      values: [
        highest,
        number("temp_min"),
        // Rain is mostly little and sometimes much.
        Math.log1p(number("precipitation")),
        number("wind"),
        cell("weather") === "sun" ? 1 : 0,
        Math.sin(angle),
        Math.cos(angle),
      ],
    };
  });
}

/** To mean 0 and deviation 1 of the given values. */
function scaleOf(values: readonly number[]): (value: number) => number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return (value) => (value - mean) / deviation;
}
