/**
 * What a benchmark prints: a table for people and, on request, one line of JSON as its last line. Every value is
 * the median over the rounds of one run; every ratio is our median divided by the peer's, of the same rounds.
 * Refuses a name without samples and a ratio of unlike units: a benchmark that lost its numbers must not pass.
 */

import { availableParallelism, cpus } from "node:os";
import type { MissingPeer } from "./peers/peers.ts";

export type Machine = { cores: number; cpu: string; node: string };
export type Result = { name: string; value: number; unit: string; min: number; max: number; runs: number };
export type ReportData = {
  machine: Machine;
  results: Result[];
  ratios: Record<string, number>;
  missing: MissingPeer[];
};

type Series = { unit: string; samples: number[] };

export class Report {
  readonly #machine: Machine;
  readonly #series = new Map<string, Series>();
  readonly #ratios = new Map<string, number>();
  readonly #missing: MissingPeer[] = [];
  readonly #notes: string[] = [];

  constructor(machine: Machine = thisMachine()) {
    this.#machine = machine;
  }

  /** Adds the sample of one round. */
  add(name: string, unit: string, sample: number): void {
    if (!Number.isFinite(sample))
      throw new RangeError(`${name}: a sample must be a finite number, got ${sample}`);
    const series = this.#series.get(name) ?? { unit, samples: [] };
    if (series.unit !== unit) throw new RangeError(`${name} is measured in ${series.unit}, not ${unit}`);
    series.samples.push(sample);
    this.#series.set(name, series);
  }

  /** Records ours ÷ peer's, of two names that have samples in the same unit. */
  ratio(name: string, ours: string, peer: string): void {
    const [a, b] = [this.#seriesOf(ours), this.#seriesOf(peer)];
    if (a.unit !== b.unit) throw new RangeError(`${name}: ${ours} is in ${a.unit}, ${peer} in ${b.unit}`);
    this.#ratios.set(name, median(a.samples) / median(b.samples));
  }

  /** Records a ratio that was computed of others. */
  setRatio(name: string, value: number): void {
    if (!(value > 0)) throw new RangeError(`${name}: a ratio must be above 0, got ${value}`);
    this.#ratios.set(name, value);
  }

  /** Whether there are samples of that name. */
  has(name: string): boolean {
    return this.#series.has(name);
  }

  /** Median of the samples so far. */
  median(name: string): number {
    return median(this.#seriesOf(name).samples);
  }

  /** Adds, round by round, how much more `name` took than `base`. */
  difference(result: string, name: string, base: string): void {
    const [a, b] = [this.#seriesOf(name), this.#seriesOf(base)];
    if (a.unit !== b.unit || a.samples.length !== b.samples.length)
      throw new RangeError(`${result}: ${name} and ${base} differ in unit or rounds`);
    a.samples.forEach((sample, round) => {
      this.add(result, a.unit, sample - b.samples[round]!);
    });
  }

  missing(peer: string, reason: string): void {
    this.#missing.push({ peer, reason });
  }

  /** A line under the table, such as which practice a contestant chose. */
  note(text: string): void {
    this.#notes.push(text);
  }

  data(): ReportData {
    return {
      machine: this.#machine,
      results: [...this.#series].map(([name, { unit, samples }]) => ({
        name,
        value: rounded(median(samples)),
        unit,
        min: rounded(Math.min(...samples)),
        max: rounded(Math.max(...samples)),
        runs: samples.length,
      })),
      ratios: Object.fromEntries([...this.#ratios].map(([name, value]) => [name, rounded(value)])),
      missing: this.#missing,
    };
  }

  table(): string {
    const { machine, results, ratios, missing } = this.data();
    const lines = [`${machine.cores} cores, ${machine.cpu}, Node ${machine.node}`, ""];
    lines.push(
      ...columns([
        ["result", "median", "unit", "min", "max", "runs"],
        ...results.map((r) => [r.name, r.value, r.unit, r.min, r.max, r.runs].map(String)),
      ]),
    );
    if (Object.keys(ratios).length > 0)
      lines.push(
        "",
        ...columns([["ratio (ours ÷ peer)", ""], ...Object.entries(ratios).map(([k, v]) => [k, String(v)])]),
      );
    for (const { peer, reason } of missing) lines.push("", `missing: ${peer}: ${reason}`);
    if (this.#notes.length > 0) lines.push("", ...this.#notes);
    return lines.join("\n");
  }

  /** Prints the table and, if asked, the JSON line, which is the last. */
  print(json: boolean, write: (text: string) => void = (text) => void process.stdout.write(text)): void {
    write(`${this.table()}\n`);
    if (json) write(`${JSON.stringify(this.data())}\n`);
  }

  #seriesOf(name: string): Series {
    const series = this.#series.get(name);
    if (!series) throw new RangeError(`no result named ${name}`);
    return series;
  }
}

export function thisMachine(): Machine {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    node: process.versions.node,
  };
}

/** The middle value, or the mean of the two in the middle. */
export function median(samples: readonly number[]): number {
  if (samples.length === 0) throw new RangeError("the median of no samples");
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Another item begins each round, so that none always follows the same other. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const shift = round % items.length;
  return [...items.slice(shift), ...items.slice(0, shift)];
}

/** Four significant digits: more would claim a precision that the runs do not have. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

/** First column to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((row) => row[c]!.length)));
  return rows.map((row) =>
    row
      .map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!)))
      .join("  ")
      .trimEnd(),
  );
}
