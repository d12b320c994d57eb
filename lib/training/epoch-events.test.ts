import type { EpochRecord } from "../protocol/jobs.ts";
import { EpochEvents } from "./epoch-events.ts";

const epochOf = (epoch: number): EpochRecord => ({ epoch, loss: 1, learningRate: 0.1, seconds: 0 });

/** Epochs so many milliseconds apart, on a clock of their own; gives which were told, and when. */
function told(everyMs: number, epochs: number): { epoch: number; atMs: number }[] {
  jest.useFakeTimers();
  const from = Date.now();
  try {
    const heard: { epoch: number; atMs: number }[] = [];
    const events = new EpochEvents(({ epoch }) => heard.push({ epoch, atMs: Date.now() - from }), Date.now);
    for (let epoch = 1; epoch <= epochs; epoch++) {
      jest.advanceTimersByTime(everyMs);
      events.completed(epochOf(epoch));
    }
    events.close();
    jest.advanceTimersByTime(10_000);
    return heard;
  } finally {
    jest.useRealTimers();
  }
}

test("tells of every epoch of a short run at once", () => {
  expect(told(1, 10)).toEqual(Array.from({ length: 10 }, (_, i) => ({ epoch: i + 1, atMs: i + 1 })));
});

test("tells of every epoch that is no quicker than ten a second", () => {
  expect(told(100, 500).map(({ epoch }) => epoch)).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
});

test("tells of quick epochs ten times a second, in their order, the newest each time and the last of all", () => {
  const heard = told(1, 10_000);
  const epochs = heard.map(({ epoch }) => epoch);
  expect(epochs).toEqual([...new Set(epochs)].toSorted((a, b) => a - b));
  expect(epochs.slice(0, 10)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(epochs.at(-1)).toBe(10_000);
  // Ten at once, ten a second for ten seconds, and the last.
  expect(heard.length).toBeLessThanOrEqual(10 + 100 + 1);
  expect(heard.length).toBeGreaterThanOrEqual(100);
  for (const { epoch, atMs } of heard) expect(atMs - epoch).toBeLessThanOrEqual(1);
});

test("tells of the last epoch when it is closed, once", () => {
  expect(told(1, 12).map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]);
});
