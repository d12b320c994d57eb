/**
 * The batcher in simulated time against the alternatives: no batching, and a batch that waits a fixed time to fill, for
 * the delay that happens to suit best. Compared are means and 99th percentiles of the times to an answer, and throughput
 * where callers never pause. It mostly leaves all of them behind; the tolerances are for where one of them suits as well
 * (uneven bursts of eight, with eight a good batch), and for what chance does in some thousand requests.
 */

import {
  type Arrivals,
  bursts,
  type Cost,
  FixedDelay,
  type Outcome,
  poisson,
  type Setting,
  simulate,
  uniform,
} from "../../test/fixtures/batching-simulation.ts";
import { randomStream } from "../../test/fixtures/onnx-models.ts";

const MAX_ROWS = 32;
const FIXED_DELAYS_MS = [0, 1, 5, 20];

/** `cnn` as measured with a 28x28 network; in the others a batch costs as much as many rows, as one, or hardly anything. */
const COSTS: Record<string, Cost> = {
  cnn: { perRowMs: 0.0235, perBatchMs: 0.1 },
  "mostly per batch": { perRowMs: 0.1, perBatchMs: 5 },
  heavy: { perRowMs: 5, perBatchMs: 5 },
  "per row alone": { perRowMs: 1, perBatchMs: 0.05 },
};

const policy = (maxBatchRows: number, queueDelayMs = 1) => ({ maxBatchRows, queueDelayMs, maxQueue: 1e6 });
const callers = (clients: number): Arrivals => {
  const next = randomStream(clients);
  return { clients, thinkMs: () => 0.025 + 0.05 * next() };
};

describe.each(Object.entries(COSTS))("with a model that costs %s", (_, cost) => {
  describe.each([1, 2])("and %i workers", (workers) => {
    const perMs = (rows: number) => (workers * rows) / (cost.perRowMs * rows + cost.perBatchMs);
    const run = (arrivals: () => Arrivals, changes: Partial<Setting> = {}) =>
      simulate({ cost, workers, requests: 4000, policy: policy(MAX_ROWS), arrivals: arrivals(), ...changes });
    const fixed = (arrivals: () => Arrivals) =>
      Promise.all(
        FIXED_DELAYS_MS.map((delayMs) =>
          run(arrivals, { batcher: (of) => new FixedDelay(of, MAX_ROWS, delayMs) }),
        ),
      );

    it.each<[string, () => Arrivals]>([
      ["evenly, at half of what batches can", () => ({ gaps: uniform(1 / (0.5 * perMs(MAX_ROWS))) })],
      ["evenly, at 80 %", () => ({ gaps: uniform(1 / (0.8 * perMs(MAX_ROWS))) })],
      ["at random, at half", () => ({ gaps: poisson(1 / (0.5 * perMs(MAX_ROWS)), 1) })],
      ["at random, at 80 %", () => ({ gaps: poisson(1 / (0.8 * perMs(MAX_ROWS)), 2) })],
      ["at random, at half of what it can unbatched", () => ({ gaps: poisson(1 / (0.5 * perMs(1)), 3) })],
      ["in bursts of eight, at half", () => ({ gaps: bursts(1 / (0.5 * perMs(MAX_ROWS)), 8, 4) })],
    ])(
      "is no slower than any fixed delay, or than no batching, when requests come %s",
      async (_arrive, arrivals) => {
        const ours = await run(arrivals);
        const alternatives = [...(await fixed(arrivals)), await run(arrivals, { policy: policy(1) })];
        const least = (of: (outcome: Outcome) => number) => Math.min(...alternatives.map(of));
        expect(ours.meanMs).toBeLessThan(1.15 * least(({ meanMs }) => meanMs) + 0.05);
        expect(ours.p99Ms).toBeLessThan(1.6 * least(({ p99Ms }) => p99Ms) + 0.1);
      },
    );

    it("does as much as the best fixed batch when requests never run out", async () => {
      const ours = await run(() => callers(256), { requests: 8000 });
      const best = Math.max(...(await fixed(() => callers(256))).map(({ perSecond }) => perSecond));
      expect(ours.perSecond).toBeGreaterThan(0.97 * best);
    });

    it("never delays a lone caller", async () => {
      const ours = await run(() => callers(1), { requests: 500 });
      const unbatched = await run(() => callers(1), { requests: 500, policy: policy(1) });
      expect(ours).toEqual(unbatched);
    });
  });
});
