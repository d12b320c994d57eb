/** Every example on a slice of its data, as a command: from the package that holds the data to its last line. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Outcome } from "../../examples/example.ts";
import { EXAMPLES } from "../../examples/table.ts";
import { endForGood, type Program, runProgram } from "../fixtures/program.ts";

const TIMEOUT_MS = 900_000;

let directory: string;
let program: Program | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-examples-"));
});
afterEach(async () => {
  if (program) await endForGood(program);
  program = undefined;
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const lines = (text: string) => text.split("\n").filter((line) => line !== "");

test.each(Object.keys(EXAMPLES))(
  "the example %s prepares its data, trains and does what a slice allows",
  async (name) => {
    program = runProgram(["examples/run.ts", name, "--smoke"], { MOIETY_DATA_DIR: join(directory, name) });
    const status = await program.ended(TIMEOUT_MS);
    expect({ status, stderr: program.stderr() }).toEqual({ status: 0, stderr: "" });
    const printed = lines(program.stdout());
    const outcome = JSON.parse(printed.at(-1)!) as Outcome & { example: string; smoke: boolean };
    expect(outcome).toMatchObject({ example: name, smoke: true, holds: true });
    expect(outcome.data.train).toBeGreaterThan(0);
    expect(outcome.data.test).toBeGreaterThan(0);
    for (const score of Object.values(outcome.scores)) expect(Number.isFinite(score)).toBe(true);
    expect(printed.some((line) => line.includes("epoch 1/") || line.includes("epoch 2/"))).toBe(true);
    expect(printed.at(-2)).toBe(`  as it should be: ${outcome.aim}`);
  },
  TIMEOUT_MS,
);

test("an example that is none is refused with the names of those there are", async () => {
  program = runProgram(["examples/run.ts", "mnist-rnn"], { MOIETY_DATA_DIR: directory });
  expect(await program.ended()).toBe(1);
  for (const name of Object.keys(EXAMPLES)) expect(program.stderr()).toContain(name);
});
