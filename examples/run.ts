/**
 * `node examples/run.ts <name> [--smoke]`, or `npm run example -- <name>`: prepares the example's data, trains on it and
 * says how it did. The last line is one JSON object; the exit status is 0 when the aim holds, else 1.
 */

import { parseArgs } from "node:util";
import { exitWith } from "../cli/failure.ts";
import { ConfigError } from "../lib/errors.ts";
import type { Example } from "./example.ts";
import { withSession } from "./session.ts";
import { EXAMPLES, type ExampleName } from "./table.ts";

const NAMES = Object.keys(EXAMPLES).join(", ");

function readArguments(args: string[]): { name: ExampleName; smoke: boolean } {
  const usage = `one of ${NAMES}, and --smoke for a slice of the data`;
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { smoke: { type: "boolean", default: false } },
    });
    const [name = "", ...more] = positionals;
    if (Object.hasOwn(EXAMPLES, name) && more.length === 0)
      return { name: name as ExampleName, smoke: values.smoke };
  } catch {
    // Told below.
  }
  throw new ConfigError("arguments", args.join(" "), usage);
}

try {
  const { name, smoke } = readArguments(process.argv.slice(2));
  const { default: example }: { default: Example } = await EXAMPLES[name]();
  const say = (text: string) => void process.stdout.write(`  ${text}\n`);
  process.stdout.write(`${example.title}${smoke ? " (a slice)" : ""}\n`);
  const startedAt = performance.now();
  const outcome = await withSession({ smoke, say }, (session) => example.run(session));
  const seconds = Number(((performance.now() - startedAt) / 1000).toFixed(1));
  say(`${outcome.holds ? "as it should be" : "NOT as it should be"}: ${outcome.aim}`);
  process.stdout.write(`${JSON.stringify({ example: name, smoke, ...outcome, seconds })}\n`);
  process.exitCode = outcome.holds ? 0 : 1;
} catch (error) {
  exitWith(error);
}
