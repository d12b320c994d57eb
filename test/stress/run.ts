/**
 * `npm run stress -- NAME…`: the suites of this folder at their full size, which takes minutes; `npm test` runs a slice
 * of each. What must never happen is an error; what depends on the machine (latencies, memory) is printed, the last line
 * of each suite as JSON.
 */

import { exitWith } from "../../cli/failure.ts";
import { type Curve, loads } from "./loads.ts";
import { overload } from "./overload.ts";
import { reloads } from "./reloads.ts";
import { shutdown } from "./shutdown.ts";
import { unbatching } from "./unbatching.ts";

const MIB = 1024 * 1024;
const SHUTDOWNS = 10;

const SUITES: Readonly<Record<string, () => Promise<unknown>>> = {
  unbatching() {
    const seed = Math.floor(performance.timeOrigin) % 2 ** 31;
    process.stdout.write(`unbatching with seed ${seed}\n`);
    return unbatching({ requests: 100_000, concurrency: 200, killEvery: 10_000, seed });
  },

  reloads: () => reloads({ reloads: 50, failEvery: 5, clients: 8, calmMs: 10_000 }),

  async shutdown() {
    const reports = [];
    for (let i = 0; i < SHUTDOWNS; i++) reports.push(await shutdown({ clients: 32, stubborn: i % 2 === 1 }));
    return reports;
  },

  async overload() {
    const report = await overload({ seconds: 60, deadlineMs: 2000 });
    return { ...report, residentBytes: undefined, residentMiB: report.residentBytes.map(mib) };
  },

  async loads() {
    const report = await loads({ cycles: 1000, failures: 200, samples: 20 });
    for (const [name, curve] of Object.entries(report)) print(name, curve);
    return report;
  },
};

function print(name: string, curve: Curve): void {
  process.stdout.write(`${name.padStart(10)}   live MiB   resident MiB\n`);
  for (const { done, liveBytes, residentBytes } of curve) {
    const columns = [
      String(done).padStart(10),
      String(mib(liveBytes)).padStart(10),
      String(mib(residentBytes)).padStart(14),
    ];
    process.stdout.write(`${columns.join(" ")}\n`);
  }
}

function mib(bytes: number): number {
  return Math.round((bytes / MIB) * 10) / 10;
}

try {
  const names = process.argv.slice(2);
  for (const name of names)
    if (!Object.hasOwn(SUITES, name))
      throw new RangeError(`No suite ${name}; there are ${Object.keys(SUITES).join(", ")}`);
  for (const name of names.length > 0 ? names : Object.keys(SUITES)) {
    const from = performance.now();
    const report = await SUITES[name]!();
    process.stdout.write(`${name}: ${((performance.now() - from) / 1000).toFixed(1)} s\n`);
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
} catch (error) {
  exitWith(error);
}
