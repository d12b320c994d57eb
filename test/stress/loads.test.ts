import { loads } from "./loads.ts";

/** Far less than one load's file and session each, far more than the collector's noise. */
const MOST_GROWTH_BYTES = 2_000_000;

test("models that come and go, and loads that fail, leave nothing behind", async () => {
  const { cycles, failures } = await loads({ cycles: 20, failures: 12, samples: 4 });
  // The first ones fill pools and compile code.
  for (const curve of [cycles, failures]) {
    expect(curve).toHaveLength(5);
    expect(curve.at(-1)!.liveBytes - curve[1]!.liveBytes).toBeLessThan(MOST_GROWTH_BYTES);
  }
});
