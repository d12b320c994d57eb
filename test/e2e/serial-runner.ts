/**
 * Runs one test file at a time: these tests start whole systems, which train on every core there is and are judged
 * by the clock. Jest runs them after all others, because they have a runner of their own.
 */

import LightRunner from "jest-light-runner";

type Test = unknown;

export default class SerialRunner extends LightRunner {
  override async runTests(tests: Test[], ...listeners: unknown[]): Promise<void> {
    for (const test of tests) await super.runTests([test], ...listeners);
  }
}
