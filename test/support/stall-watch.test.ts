import { StallWatch } from "./stall-watch.ts";

function watch() {
  let nowMs = 0;
  const own = new StallWatch(() => nowMs);
  const pass = (...gapsMs: number[]) => {
    for (const ms of gapsMs) {
      nowMs += ms;
      own.tick();
    }
  };
  return { own, pass, skip: (ms: number) => (nowMs += ms) };
}

test("ticks that come late by less than a second are a loaded machine, not one that stood still", () => {
  const { own, pass } = watch();
  pass(50, 60, 900, 51, 1_000);
  expect(own.longestSince(0)).toBe(0);
});

test("tells how long the machine stood still, since when it is asked for", () => {
  const { own, pass } = watch();
  pass(50, 3_050, 50, 1_550);
  expect(own.longestSince(0)).toBe(3_000);
  expect(own.longestSince(3_150)).toBe(1_500);
  expect(own.longestSince(4_701)).toBe(0);
});

test("knows of a stall that has just ended, before its timer does", () => {
  const { own, pass, skip } = watch();
  pass(50);
  skip(20_050);
  expect(own.longestSince(50)).toBe(20_000);
});
