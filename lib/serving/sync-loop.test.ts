import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { SyncLoop } from "./sync-loop.ts";

const settle = () => new Promise((resolve) => setImmediate(resolve));

function loop(sync: () => Promise<void>) {
  const clock = new FakeClock();
  const failures: string[] = [];
  const started = new SyncLoop({ sync, clock, onFailure: (reason) => void failures.push(reason) });
  started.start();
  const pass = async (milliseconds: number) => {
    clock.advance(milliseconds);
    await settle();
  };
  return { loop: started, failures, pass };
}

describe("the sync loop", () => {
  it("merges news that come together, and polls when there are none", async () => {
    let runs = 0;
    const { loop: own, pass } = loop(async () => {
      runs++;
    });
    await pass(0);
    for (let i = 0; i < 5; i++) own.poke();
    await pass(20);
    expect(runs).toBe(2);
    await pass(4999);
    expect(runs).toBe(2);
    await pass(1);
    expect(runs).toBe(3);
    own.stop();
    await pass(60_000);
    expect(runs).toBe(3);
  });

  it("runs once more for what it heard while it ran, never twice at a time", async () => {
    const held = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let runs = 0;
    const { loop: own, pass } = loop(() => held[runs++]!.promise);
    await pass(0);
    own.poke();
    await pass(1000);
    expect(runs).toBe(1);
    held[0]!.resolve();
    await settle();
    await pass(20);
    expect(runs).toBe(2);
    own.stop();
    held[1]!.resolve();
  });

  it("tries again soon after a failure and tells of each reason once", async () => {
    const reasons = [undefined, "away", "away", "odd", undefined];
    let runs = 0;
    const {
      loop: own,
      failures,
      pass,
    } = loop(async () => {
      const reason = reasons[runs++];
      if (reason) throw new Error(reason);
    });
    await pass(0);
    await pass(5000);
    for (let i = 0; i < 3; i++) await pass(250);
    expect(runs).toBe(5);
    expect(failures).toEqual(["away", "odd"]);
    own.stop();
  });

  it("looks for what is still starting more and more slowly, and says nothing of it", async () => {
    let runs = 0;
    const {
      loop: own,
      failures,
      pass,
    } = loop(async () => {
      if (runs++ < 4) throw new Error("not there yet");
    });
    await pass(0);
    for (const delayMs of [50, 100, 200, 250]) {
      await pass(delayMs - 1);
      const before = runs;
      await pass(1);
      expect(runs).toBe(before + 1);
    }
    expect(runs).toBe(5);
    await pass(4999);
    expect(runs).toBe(5);
    expect(failures).toEqual([]);
    own.stop();
  });

  it("tells, once, of what does not come at all", async () => {
    const { loop: own, failures, pass } = loop(() => Promise.reject(new Error("not there")));
    await pass(0);
    for (let elapsedMs = 0; elapsedMs < 2500; elapsedMs += 250) await pass(250);
    expect(failures).toEqual([]);
    for (let elapsedMs = 0; elapsedMs < 2500; elapsedMs += 250) await pass(250);
    expect(failures).toEqual(["not there"]);
    own.stop();
  });
});
