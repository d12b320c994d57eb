/**
 * Runs one test file at a time: these tests start whole systems, which train on every core there is. Jest runs them
 * after all others, because they have a runner of their own.
 */

import PatientRunner, { type Listeners, type TestFile } from "../support/patient-runner.ts";

export default class SerialRunner extends PatientRunner {
  override async runTests(tests: TestFile[], watcher: unknown, ...listeners: Listeners): Promise<void> {
    for (const test of tests) await super.runTests([test], watcher, ...listeners);
  }
}
