import { BatchCost } from "./batch-cost.ts";
import { BatchTiming } from "./batch-timing.ts";
import { RowRate } from "./row-rate.ts";

/** What a batch costs besides what its run takes. */
const POSTING_MS = 0.05;

const learnt = (cost: BatchCost, ms: (rows: number) => number, sizes = [1, 2, 4, 8, 16, 32], times = 20) => {
  for (let i = 0; i < times; i++) for (const rows of sizes) cost.ran(rows, ms(rows));
  return cost;
};

describe("the cost of a batch", () => {
  it("is learnt as a line: so much per row, so much per batch", () => {
    const cost = learnt(new BatchCost(), (rows) => 0.5 * rows + 3);
    expect(cost.perRowMs).toBeCloseTo(0.5, 6);
    expect(cost.perBatchMs).toBeCloseTo(3 + POSTING_MS, 6);
    expect(cost.of(100)).toBeCloseTo(53, 4);
  });

  it("hardly moves with a run that took a hundred times as long", () => {
    const cost = learnt(new BatchCost(), (rows) => 0.5 * rows + 3);
    cost.ran(8, 700);
    for (let i = 0; i < 16; i++) cost.ran(1, 3.5);
    expect(cost.of(8)).toBeLessThan(1.3 * 7);
  });

  it("follows a machine that has become slower", () => {
    const cost = learnt(new BatchCost(), (rows) => rows + 1);
    learnt(cost, (rows) => 3 * rows + 3, undefined, 60);
    expect(cost.of(10)).toBeGreaterThan(0.9 * 33);
    expect(cost.of(10)).toBeLessThan(1.1 * 33);
  });

  it("of one size only is all the rows'", () => {
    const cost = learnt(new BatchCost(), (rows) => rows + 1, [4]);
    expect([cost.of(4), cost.perBatchMs]).toEqual([expect.closeTo(5), POSTING_MS]);
    expect(cost.enoughRows(false)).toBe(Number.POSITIVE_INFINITY);
  });

  it("is never negative, whatever it is told", () => {
    const cost = learnt(new BatchCost(), (rows) => 10 / rows);
    for (const ms of [Number.NaN, -1]) cost.ran(2, ms);
    cost.ran(0, 5);
    for (const value of [cost.perRowMs, cost.perBatchMs, cost.of(1), cost.of(1000)])
      expect(value).toBeGreaterThanOrEqual(0);
  });

  it("says where more rows hardly make them cheaper", () => {
    const enough = (ms: (rows: number) => number) => {
      const cost = learnt(new BatchCost(), ms);
      return [cost.enoughRows(false), cost.enoughRows(true)];
    };
    expect(enough((rows) => rows)).toEqual([1, 3]);
    expect(enough((rows) => rows + 0.99 - POSTING_MS)).toEqual([10, 50]);
    expect(enough((rows) => 0.01 * rows + 5)[0]).toBeGreaterThan(1000);
  });

  it("refuses sizes whose rows cost more than smaller ones', and tries them again after a while", () => {
    const cost = learnt(new BatchCost(), (rows) => (rows > 8 ? 2 * rows : rows + 1));
    expect(cost.bestRows(32)).toBeGreaterThanOrEqual(8);
    expect(cost.bestRows(32)).toBeLessThan(12);
    expect(cost.bestRows(4)).toBe(4);
    learnt(cost, (rows) => rows + 1, [1, 8], 200);
    expect(cost.bestRows(32)).toBe(32);
  });
});

describe("how soon the next row comes", () => {
  it("is unknown before two have come", () => {
    const rate = new RowRate();
    expect(rate.gapMs(5)).toBe(Number.POSITIVE_INFINITY);
    rate.passed(1, 10);
    expect(rate.gapMs(11)).toBe(Number.POSITIVE_INFINITY);
  });

  it("is the mean of late, by rows", () => {
    const rate = new RowRate();
    for (let at = 0; at <= 1000; at += 4) rate.passed(2, at);
    expect(rate.gapMs(1000)).toBeCloseTo(2, 6);
    for (let at = 1001; at <= 1200; at += 1) rate.passed(1, at);
    expect(rate.gapMs(1200)).toBeCloseTo(1, 1);
  });

  it("grows with a pause, and forgets it once they come as before", () => {
    const rate = new RowRate();
    for (let at = 0; at <= 100; at++) rate.passed(1, at);
    expect(rate.gapMs(150)).toBe(50);
    rate.passed(1, 5000);
    for (let at = 5001; at <= 5100; at++) rate.passed(1, at);
    expect(rate.gapMs(5100)).toBeLessThan(1.1);
  });
});

describe("when a batch that is not full runs", () => {
  const timing = (gapMs: number) => {
    const it = new BatchTiming();
    learnt(it.cost, (rows) => 0.1 * rows + 10);
    for (let at = 0; at <= 100 * gapMs; at += gapMs) it.arrivals.passed(1, at);
    return { it, now: 100 * gapMs };
  };

  it("is just before the worker that takes it is free", () => {
    const { it, now } = timing(1);
    expect(it.dueAt({ rows: 1, queuedAt: now - 500 }, now, 7, 1)).toBeCloseTo(now + 6.9, 6);
  });

  it("is after the longest wait, while nothing is known of the cost", () => {
    expect(new BatchTiming().dueAt({ rows: 1, queuedAt: 3 }, 4, 7, 5)).toBe(8);
  });

  it("is at once on an idle worker, when the next row comes later than waiting for it pays", () => {
    const { it, now } = timing(6);
    expect(it.dueAt({ rows: 1, queuedAt: now }, now, 0, 100)).toBeLessThanOrEqual(now);
  });

  it("is when the next row should have come, the sooner the more wait, and at most the longest wait", () => {
    const { it, now } = timing(1);
    expect(it.dueAt({ rows: 1, queuedAt: now }, now, 0, 100)).toBeCloseTo(now + (10 + POSTING_MS) / 2, 6);
    expect(it.dueAt({ rows: 4, queuedAt: now }, now, 0, 100)).toBeCloseTo(now + (10 + POSTING_MS) / 8, 6);
    expect(it.dueAt({ rows: 8, queuedAt: now }, now, 0, 100)).toBeLessThanOrEqual(now);
    expect(it.dueAt({ rows: 1, queuedAt: now - 2 }, now, 0, 3)).toBe(now + 1);
  });
});

describe("how many rows it takes", () => {
  const timing = (perRowMs: number, perBatchMs: number) => {
    const it = new BatchTiming();
    learnt(it.cost, (rows) => perRowMs * rows + perBatchMs);
    return it;
  };

  it("is all that wait, where a batch costs much by itself", () => {
    const it = timing(0.1, 5);
    expect([it.rowsToTake(8, 32, 1), it.rowsToTake(8, 32, 2), it.rowsToTake(99, 32, 1)]).toEqual([8, 8, 32]);
  });

  it("is an idle worker's share, where rows cost more", () => {
    const it = timing(5, 5);
    expect([it.rowsToTake(8, 32, 1), it.rowsToTake(8, 32, 2), it.rowsToTake(8, 32, 3)]).toEqual([8, 4, 3]);
    expect(it.rowsToTake(1, 32, 2)).toBe(1);
  });

  it("is a few, where more would not make them cheaper, unless a full batch waits", () => {
    const it = timing(1, 0.05);
    expect([it.rowsToTake(8, 32, 1), it.rowsToTake(40, 32, 1)]).toEqual([1, 5]);
  });
});
