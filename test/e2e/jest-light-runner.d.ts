/** What this project uses of a package that has no types of its own. */

declare module "jest-light-runner" {
  export default class LightRunner {
    constructor(...facts: unknown[]);
    runTests(tests: unknown[], ...listeners: unknown[]): Promise<void>;
  }
}
