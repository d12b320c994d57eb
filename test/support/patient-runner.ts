/**
 * Runs test files as jest-light-runner does, and a file that failed while the machine stood still once more, when the
 * others are done: what failed then says nothing of the code, because every deadline had passed. A file that fails
 * without a stall has failed; so has one that fails each time.
 */

import LightRunner from "jest-light-runner";
import { silenceRuntime } from "../../lib/runtime/telemetry.ts";
import { StallWatch } from "./stall-watch.ts";

const MAX_RUNS = 4;

export type TestFile = { path: string };
export type TestFileResult = { numFailingTests: number };
export type Listeners = [
  onStart: (test: TestFile) => Promise<void>,
  onResult: (test: TestFile, result: TestFileResult) => Promise<void>,
  onFailure: (test: TestFile, error: unknown) => Promise<void>,
];

export default class PatientRunner extends LightRunner {
  override async runTests(tests: TestFile[], watcher: unknown, ...listeners: Listeners): Promise<void> {
    silenceRuntime();
    const [onStart, onResult, onFailure] = listeners;
    const watch = new StallWatch();
    watch.start();
    try {
      let left = tests;
      for (let run = 1; left.length > 0; run++) {
        const begunMs = new Map<TestFile, number>();
        const again: TestFile[] = [];
        /** Puts the file off when its failure proves nothing. */
        const excused = (test: TestFile): boolean => {
          const stalledMs = watch.longestSince(begunMs.get(test) ?? 0);
          if (stalledMs === 0 || run === MAX_RUNS) return false;
          const seconds = (stalledMs / 1000).toFixed(1);
          process.stderr.write(`${test.path} is run again: the machine stood still for ${seconds} s\n`);
          again.push(test);
          return true;
        };
        await super.runTests(
          left,
          watcher,
          async (test) => {
            begunMs.set(test, performance.now());
            if (run === 1) await onStart(test);
          },
          async (test, result) => {
            if (result.numFailingTests === 0 || !excused(test)) await onResult(test, result);
          },
          async (test, error) => {
            if (!excused(test)) await onFailure(test, error);
          },
        );
        left = again;
      }
    } finally {
      watch.stop();
    }
  }
}
