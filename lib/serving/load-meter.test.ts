import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { LoadMeter } from "./load-meter.ts";

function metered() {
  const clock = new FakeClock();
  return { meter: new LoadMeter(clock), skip: (ms: number) => clock.skip(ms) };
}

const MODEL = {};
const OTHER = {};

describe("LoadMeter", () => {
  test("says nothing of cost before the first answer", () => {
    const { meter, skip } = metered();
    meter.began(MODEL, 3);
    skip(5);
    expect(meter.read()).toEqual({ rows: 3, waitMs: 0, rowMs: 0 });
  });

  test("shares the time of a batch among its rows", () => {
    const { meter, skip } = metered();
    const ended = [1, 2, 5].map((rows) => meter.began(MODEL, rows));
    skip(16);
    for (const end of ended) end(true);
    const { rows, rowMs } = meter.read();
    expect(rows).toBe(0);
    expect(rowMs).toBeGreaterThan(1.9);
    expect(rowMs).toBeLessThan(4);
    meter.began(MODEL, 10);
    expect(meter.read().waitMs).toBeCloseTo(10 * meter.read().rowMs);
  });

  test("does not take a pause for work", () => {
    const { meter, skip } = metered();
    for (let i = 0; i < 100; i++) {
      const end = meter.began(MODEL, 1);
      skip(4);
      end(true);
      skip(96);
    }
    expect(meter.read().rowMs).toBeGreaterThan(3.5);
    expect(meter.read().rowMs).toBeLessThan(5);
    // The first request after a long pause begins: nothing is known to have become dearer.
    skip(60_000);
    meter.began(MODEL, 1);
    skip(2);
    expect(meter.read().rowMs).toBeLessThan(10);
  });

  test("waits longer the longer no answer comes", () => {
    const { meter, skip } = metered();
    const end = meter.began(MODEL, 1);
    skip(2);
    end(true);
    meter.began(MODEL, 1);
    const waits = [8, 90, 900, 2_000].map((ms) => {
      skip(ms);
      return meter.read().waitMs;
    });
    expect(waits).toEqual(waits.toSorted((a, b) => a - b));
    expect(waits[3]! / waits[0]!).toBeGreaterThan(50);
  });

  test("forgets a hang once answers come again, and follows work that has become dearer", () => {
    const { meter, skip } = metered();
    const answer = (ms: number) => {
      const end = meter.began(MODEL, 1);
      skip(ms);
      end(true);
    };
    for (let i = 0; i < 100; i++) answer(2);
    answer(5_000);
    for (let i = 0; i < 20; i++) answer(2);
    expect(meter.read().rowMs).toBeLessThan(5);
    for (let i = 0; i < 50; i++) answer(100);
    expect(meter.read().rowMs).toBeGreaterThan(60);
  });

  test("learns that rows take time after they took none", () => {
    const { meter, skip } = metered();
    for (let i = 0; i < 100; i++) meter.began(MODEL, 1)(true);
    skip(10_000);
    for (let i = 0; i < 20; i++) {
      const end = meter.began(MODEL, 1);
      skip(50);
      end(true);
    }
    expect(meter.read().rowMs).toBeGreaterThan(20);
  });

  test("does not take refusals for work that was quick", () => {
    const { meter, skip } = metered();
    const end = meter.began(MODEL, 1);
    skip(10);
    end(true);
    const { rowMs } = meter.read();
    for (let i = 0; i < 100; i++) meter.began(MODEL, 1)(false);
    expect(meter.read()).toEqual({ rows: 0, waitMs: 0, rowMs });
  });

  test("counts rows of each model by what they take", () => {
    const { meter, skip } = metered();
    const light = meter.began(MODEL, 100);
    skip(10);
    light(true);
    const heavy = meter.began(OTHER, 1);
    skip(100);
    heavy(true);
    meter.began(MODEL, 1);
    const lightMs = meter.read().waitMs;
    meter.began(OTHER, 1);
    expect(meter.read().waitMs).toBeGreaterThan(50 * lightMs);
  });
});
