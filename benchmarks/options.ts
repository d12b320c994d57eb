/** Command-line options that every benchmark takes. An unknown option or peer is refused by name. */

import { parseArgs } from "node:util";

export type BenchmarkOptions = {
  /** End with one line of JSON. */
  json: boolean;
  /** A short smoke run; its figures mean little. */
  quick: boolean;
  /** The peers to compare with. */
  peers: string[];
  /** Undefined: the benchmark's own number. */
  rounds: number | undefined;
};

/** @throws {RangeError} naming the option, what came and what is allowed */
export function readOptions(args: readonly string[], peers: readonly string[]): BenchmarkOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      rounds: { type: "string" },
    },
  });
  const only = values.only?.split(",").filter((peer) => peer !== "") ?? peers;
  for (const peer of only)
    if (!peers.includes(peer)) throw new RangeError(`--only: no peer ${peer}; known: ${peers.join(", ")}`);
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000))
    throw new RangeError(`--rounds: expected an integer from 1 to 1000, got ${values.rounds}`);
  return { json: values.json, quick: values.quick, peers: [...only], rounds };
}
