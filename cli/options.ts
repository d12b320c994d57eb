/** The options that `npm start` and `npm run cluster` share. */

import { parseArgs } from "node:util";
import { ConfigError } from "../lib/errors.ts";

const HELP = `-- [options]
  --epochs N   train the example for N epochs (default 1; another number than the published model's trains it again)
  --empty      start without the example
  --exit       run the example, print one line of JSON and end
  --help       this text
`;

export type StartOptions = { epochs: number | undefined; empty: boolean; exit: boolean };

/** @throws {ConfigError} */
export function readOptions(args: string[], command: string): StartOptions {
  const values = parse(args);
  if (values.help) {
    process.stdout.write(`${command} ${HELP}`);
    process.exit(0);
  }
  const epochs = values.epochs === undefined ? undefined : Number(values.epochs);
  if (epochs !== undefined && (!Number.isInteger(epochs) || epochs < 1 || epochs > 1000))
    throw new ConfigError("--epochs", values.epochs!, "an integer from 1 to 1000");
  if (values.empty && values.exit) throw new ConfigError("--exit", "--empty --exit", "one of the two");
  return { epochs, empty: values.empty, exit: values.exit };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        epochs: { type: "string" },
        empty: { type: "boolean", default: false },
        exit: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch {
    throw new ConfigError("options", args.join(" "), "--epochs N, --empty, --exit or --help");
  }
}
