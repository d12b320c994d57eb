/** Command-line options that benchmarks take. An unknown option, peer, network or path is refused by name. */

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
  /** The ways in to measure; none where the benchmark has no choice of them. */
  paths: string[];
  /** Undefined: the benchmark's own numbers. */
  connections: number[] | undefined;
  /** Undefined: the benchmark's own number. */
  rounds: number | undefined;
  /** How long one measurement takes. Undefined: the benchmark's own. */
  seconds: number | undefined;
};

/** What can be chosen from. */
export type Choices = { peers: readonly string[]; nets?: readonly string[]; paths?: readonly string[] };

/** @throws {RangeError} naming the option, what came and what is allowed */
export function readOptions(args: readonly string[], { peers, nets, paths }: Choices): BenchmarkOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      peers: { type: "string" },
      ...(nets ? { net: { type: "string" } } : {}),
      ...(paths
        ? { paths: { type: "string" }, connections: { type: "string" }, seconds: { type: "string" } }
        : {}),
      rounds: { type: "string" },
    },
  });
  const given = Object.fromEntries(
    Object.entries(values).flatMap(([option, value]) => (typeof value === "string" ? [[option, value]] : [])),
  ) as Partial<Record<string, string>>;
  const chosen = (option: string, kind: string, known: readonly string[] = []): string[] => {
    const names = listed(given[option]) ?? known;
    for (const name of names)
      if (!known.includes(name))
        throw new RangeError(`--${option}: no ${kind} ${name}; known: ${known.join(", ")}`);
    return [...names];
  };
  return {
    json: values.json,
    quick: values.quick,
    peers: chosen("peers", "peer", peers),
    nets: chosen("net", "network", nets),
    paths: chosen("paths", "path", paths),
    connections: listed(given.connections)?.map((count) => integer("connections", count)),
    rounds: given.rounds === undefined ? undefined : integer("rounds", given.rounds),
    seconds: given.seconds === undefined ? undefined : integer("seconds", given.seconds),
  };
}

function listed(value: string | undefined): string[] | undefined {
  return value?.split(",").filter((name) => name !== "");
}

function integer(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1000)
    throw new RangeError(`--${option}: expected an integer from 1 to 1000, got ${text}`);
  return value;
}
