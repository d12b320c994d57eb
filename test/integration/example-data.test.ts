/** Data that examples prepare: nothing of the test is known in training, and nothing is missing. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareSeattle, WINDOW_DAYS } from "../../examples/forecast-lstm/seattle.ts";
import { MAIL_WORDS, prepareSpam } from "../../examples/spam/corpus.ts";
import { FEATURES, preparePenguins } from "../../examples/table-mlp/penguins.ts";
import { loadDataset } from "../../lib/data/datasets.ts";
import { type Column, rowRange, rowsOf } from "../../lib/data/examples.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "example-data-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const values = (column: Column, count: number) => Array.from(rowsOf(column, rowRange(0, count)), Number);

test("penguins are scaled by the training rows, and none lacks a measurement", async () => {
  const { majorityAccuracy } = await preparePenguins(join(directory, "penguins"));
  const { train, test: tests, close } = await loadDataset("penguins", directory);
  expect([train.count, tests.count]).toEqual([258, 86]);
  const features = values(train.inputs[0]!, train.count);
  for (let k = 0; k < 4; k++) {
    const measured = features.filter((_, i) => i % FEATURES === k);
    const mean = measured.reduce((sum, value) => sum + value, 0) / train.count;
    const square = measured.reduce((sum, value) => sum + value ** 2, 0) / train.count;
    // Two birds' medians in place of unknown measurements move it a little.
    expect(Math.abs(mean)).toBeLessThan(0.01);
    expect(square).toBeGreaterThan(0.97);
    expect(square).toBeLessThan(1.001);
  }
  // 152 Adelie, 68 Chinstrap and 124 Gentoo penguins, as published.
  const species = [...values(train.targets[0]!, train.count), ...values(tests.targets[0]!, tests.count)];
  expect([0, 1, 2].map((k) => species.filter((label) => label === k).length)).toEqual([152, 68, 124]);
  const adelies = values(tests.targets[0]!, tests.count).filter((label) => label === 0).length;
  expect(majorityAccuracy).toBe(adelies / 86);
  await close();
});

test("the forecast's windows end on the day before what they forecast, and the test is the last year", async () => {
  const { persistence, seasonalNaive } = await prepareSeattle(join(directory, "weather"));
  const { train, test: tests, close } = await loadDataset("weather", directory);
  // 1,461 days, of which the first two weeks have no window; 365 in 2015.
  expect([train.count, tests.count]).toEqual([1461 - 365 - WINDOW_DAYS, 365]);
  const changes = values(tests.targets[0]!, tests.count);
  const meanChange = changes.reduce((sum, change) => sum + Math.abs(change), 0) / changes.length;
  expect(persistence).toBeCloseTo(meanChange, 5);
  expect(seasonalNaive).toBeGreaterThan(persistence);
  // The highest temperature of a window's last day, scaled, moves by the change to the next window's last day.
  const windows = values(tests.inputs[0]!, tests.count);
  const size = windows.length / tests.count;
  const columns = size / WINDOW_DAYS;
  const last = (row: number) => windows[row * size + size - columns]!;
  const ratios = changes
    .slice(0, -1)
    .flatMap((change, row) => (Math.abs(change) > 1 ? [(last(row + 1) - last(row)) / change] : []));
  expect(ratios.length).toBeGreaterThan(100);
  for (const ratio of ratios) expect(ratio).toBeCloseTo(ratios[0]!, 3);
  await close();
});

test("no mail is both in training and in the test, and words are of the training mails", async () => {
  const facts = await prepareSpam(join(directory, "mails"));
  const { train, test: tests, close } = await loadDataset("mails", directory);
  expect(facts.mails).toBe(6046);
  expect(train.count + tests.count).toBe(facts.mails - facts.duplicates);
  expect(facts.trained).toBe(train.count);
  const rows = (column: Column, count: number) => {
    const words = values(column, count);
    return Array.from({ length: count }, (_, row) =>
      words.slice(row * MAIL_WORDS, (row + 1) * MAIL_WORDS).join(),
    );
  };
  const trained = rows(train.inputs[0]!, train.count);
  const known = new Set(trained.join().split(","));
  const tested = rows(tests.inputs[0]!, tests.count);
  for (const word of new Set(tested.join().split(","))) expect(known.has(word)).toBe(true);
  const seen = new Set(trained);
  expect(tested.filter((mail) => seen.has(mail))).toEqual([]);
  await close();
});
