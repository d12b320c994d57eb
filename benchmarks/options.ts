/** Command-line options that every benchmark takes. An unknown option or peer is refused by name. */

import { parseArgs } from "node:util";

export type BenchmarkOptions = {
  /** End with one line of JSON. */
  json: boolean;
  /** A short smoke run; its figures mean little. */
  quick: boolean;
  /** The peers to compare with. */
  peers: string[];
  /** The networks to train; none where the benchmark has no choice of them. */
  nets: string[];
  /** Undefined: the benchmark's own number. */
  rounds: number | undefined;
};

/** @throws {RangeError} naming the option, what came and what is allowed */
export function readOptions(
  args: readonly string[],
  peers: readonly string[],
  nets: readonly string[] = [],
): BenchmarkOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      rounds: { type: "string" },
      net: { type: "string" },
    },
  });
  const chosen = (option: string, kind: string, value: string | undefined, known: readonly string[]) => {
    const names = value?.split(",").filter((name) => name !== "") ?? known;
    for (const name of names)
      if (!known.includes(name))
        throw new RangeError(`--${option}: no ${kind} ${name}; known: ${known.join(", ")}`);
    return [...names];
  };
  if (values.net !== undefined && nets.length === 0)
    throw new RangeError("--net: this benchmark has no choice of networks");
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000))
    throw new RangeError(`--rounds: expected an integer from 1 to 1000, got ${values.rounds}`);
  return {
    json: values.json,
    quick: values.quick,
    peers: chosen("only", "peer", values.only, peers),
    nets: chosen("net", "network", values.net, nets),
    rounds,
  };
}
