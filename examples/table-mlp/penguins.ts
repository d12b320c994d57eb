/**
 * The Palmer penguins (Horst, Hill and Gorman, 2020; CC0): 344 birds of three species, four measurements, island and
 * sex. Eleven birds lack something. Rows are parted at random, a quarter for the test; what a missing measurement is
 * replaced by (the median) and what measurements are scaled by come from the training rows alone.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { splitRows } from "../../lib/data/examples.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import { VEGA_DATASETS } from "../npm-data.ts";
import { npmPackage } from "../packages.ts";

type Penguin = Record<string, string | number | null>;

const MEASURED = ["Beak Length (mm)", "Beak Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"];
/** One column for each value; a bird of unknown sex has noughts. */
const CATEGORIES = { Island: ["Biscoe", "Dream", "Torgersen"], Sex: ["FEMALE", "MALE"] };
export const SPECIES = ["Adelie", "Chinstrap", "Gentoo"];
export const FEATURES = MEASURED.length + Object.values(CATEGORIES).flat().length;

const TEST_SHARE = 0.25;
const SEED = 1;

/** Writes the data set. Gives the share of the commonest species of the training birds among the test birds. */
export async function preparePenguins(folder: string): Promise<{ majorityAccuracy: number }> {
  const file = join(await npmPackage(VEGA_DATASETS), "data/penguins.json");
  const birds = JSON.parse(await readFile(file, "utf8")) as Penguin[];
  const { train, validation: test } = splitRows(birds.length, TEST_SHARE, SEED);
  const training = Array.from(train, (row) => birds[row]!);
  const scales = MEASURED.map((name) => scaleOf(training.map((bird) => bird[name])));
  const features = (bird: Penguin) => [
    ...MEASURED.map((name, i) => scales[i]!(bird[name])),
    ...Object.entries(CATEGORIES).flatMap(([name, values]) =>
      values.map((value) => (bird[name] === value ? 1 : 0)),
    ),
  ];
  const species = (row: number) => SPECIES.indexOf(String(birds[row]!.Species));
  const arrays = (rows: Uint32Array) => ({
    features: {
      datatype: "FP32" as const,
      shape: [rows.length, FEATURES],
      data: Float32Array.from(Array.from(rows, (row) => features(birds[row]!)).flat()),
    },
    species: { datatype: "UINT8" as const, shape: [rows.length], data: Uint8Array.from(rows, species) },
  });
  const parts = { train: arrays(train), test: arrays(test) };
  await writeDataset(folder, {
    inputs: { features: { train: parts.train.features, test: parts.test.features } },
    targets: { species: { train: parts.train.species, test: parts.test.species, labelNames: SPECIES } },
  });
  const counts = SPECIES.map((_, k) => parts.train.species.data.filter((s) => s === k).length);
  const commonest = counts.indexOf(Math.max(...counts));
  const right = parts.test.species.data.filter((s) => s === commonest).length;
  return { majorityAccuracy: right / test.length };
}

/** Scales a measurement to mean 0 and deviation 1 of the given ones; one that is missing becomes their median. */
function scaleOf(given: readonly unknown[]): (value: unknown) => number {
  const known = given.filter((value) => typeof value === "number").sort((a, b) => a - b);
  const median = known[Math.floor(known.length / 2)]!;
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  const deviation = Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / known.length);
  return (value) => ((typeof value === "number" ? value : median) - mean) / deviation;
}
