/** What this project uses of a package that has no types of its own. */

declare module "jest-light-runner" {
  type TestFile = { path: string };
  export default class LightRunner {
    constructor(...facts: unknown[]);
    runTests(
      tests: TestFile[],
      watcher: unknown,
      onStart: (test: TestFile) => Promise<void>,
      onResult: (test: TestFile, result: { numFailingTests: number }) => Promise<void>,
      onFailure: (test: TestFile, error: unknown) => Promise<void>,
    ): Promise<void>;
  }
}
