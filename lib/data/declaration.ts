/**
 * `dataset.json`: which files of a folder are the columns of a data set.
 *
 *   {
 *     "inputs":  { "image": { "train": "train-images.npy", "test": "test-images.npy" } },
 *     "targets": { "digit": { "train": "train-digits.npy", "test": "test-digits.npy", "labelNames": ["0", "1"] } },
 *     "weights": { "train": "train-weights.npy" }
 *   }
 *
 * A column that lies in one file says `"file"` instead; `"rows": {"train": [0, 800], "test": [800, 1000]}` then parts
 * such columns, from the first number to below the second. Whatever else it says is refused, as are names that leave
 * the folder.
 */

import { DatasetCorruptError, errorMessage } from "../errors.ts";

export const DECLARATION = "dataset.json";

export const PARTS = ["train", "test"] as const;
export type Part = (typeof PARTS)[number];

/** Where a column's rows are. */
export type ColumnSource = {
  /** How errors name it, such as "inputs.image.train". */
  field: string;
  file: string;
  /** From the first to below the second; undefined: all. */
  rows?: readonly [number, number];
};

export type DeclaredColumn = { name: string } & Record<Part, ColumnSource>;
export type DeclaredTarget = DeclaredColumn & { labelNames?: string[] };

export type Declaration = {
  inputs: DeclaredColumn[];
  targets: DeclaredTarget[];
  weights: Partial<Record<Part, ColumnSource>>;
};

const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;
const FILE_KIND = /\.npy$/;

type Json = Record<string, unknown>;
type Rows = Record<Part, readonly [number, number]>;

/** @param file named in errors @throws {DatasetCorruptError} naming the file and the field */
export function parseDeclaration(file: string, text: string): Declaration {
  return new Reader(file).declaration(text);
}

class Reader {
  private readonly file: string;
  private rows: Rows | undefined;

  constructor(file: string) {
    this.file = file;
  }

  declaration(text: string): Declaration {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw new DatasetCorruptError(this.file, { received: errorMessage(error), expected: "JSON" });
    }
    const given = this.object(json, "the file", ["inputs", "targets", "weights", "rows"]);
    this.rows = given.rows === undefined ? undefined : this.partition(given.rows);
    const columns = (role: string) => Object.entries(this.object(given[role], role));
    const declaration: Declaration = {
      inputs: columns("inputs").map(([name, column]) => this.column(name, column, `inputs.${name}`)),
      targets: columns("targets").map(([name, column]) => this.target(name, column, `targets.${name}`)),
      weights: given.weights === undefined ? {} : this.sources(given.weights, "weights"),
    };
    for (const role of ["inputs", "targets"] as const)
      if (declaration[role].length === 0) this.fail(role, "none", "at least one");
    return declaration;
  }

  private column(name: string, value: unknown, field: string): DeclaredColumn {
    const sources = this.sources(value, field);
    const part = (part: Part) =>
      sources[part] ?? this.fail(`${field}.${part}`, "nothing", "the name of a file");
    return { name, train: part("train"), test: part("test") };
  }

  private target(name: string, value: unknown, field: string): DeclaredTarget {
    const { labelNames, ...column } = this.object(value, field);
    const target = this.column(name, column, field);
    if (labelNames === undefined) return target;
    if (
      !Array.isArray(labelNames) ||
      labelNames.length === 0 ||
      !labelNames.every((label) => typeof label === "string")
    )
      return this.fail(
        `${field}.labelNames`,
        labelNames,
        "the classes' names, in the order of their numbers",
      );
    return { ...target, labelNames };
  }

  /** `{train, test}`, or `{file}` and the rows of each part. */
  private sources(value: unknown, field: string): Partial<Record<Part, ColumnSource>> {
    const given = this.object(value, field, ["file", ...PARTS]);
    if (given.file !== undefined) {
      if (given.train !== undefined || given.test !== undefined)
        this.fail(field, "both", "either file or train and test");
      const { rows } = this;
      if (!rows) return this.fail("rows", "nothing", `the rows of train and test, as ${field} is one file`);
      const file = this.fileName(given.file, `${field}.file`);
      return {
        train: { field: `${field}.file`, file, rows: rows.train },
        test: { field: `${field}.file`, file, rows: rows.test },
      };
    }
    const sources: Partial<Record<Part, ColumnSource>> = {};
    for (const part of PARTS)
      if (given[part] !== undefined)
        sources[part] = { field: `${field}.${part}`, file: this.fileName(given[part], `${field}.${part}`) };
    return sources;
  }

  private fileName(value: unknown, field: string): string {
    if (typeof value === "string" && FILE_NAME.test(value) && FILE_KIND.test(value)) return value;
    return this.fail(field, value, "the name of an .npy file in the same folder");
  }

  private partition(value: unknown): Rows {
    const given = this.object(value, "rows", PARTS);
    const range = (part: Part): readonly [number, number] => {
      const [from, to, ...more] = Array.isArray(given[part]) ? (given[part] as unknown[]) : [];
      if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && more.length === 0) {
        const range = [from as number, to as number] as const;
        if (range[0] >= 0 && range[0] < range[1]) return range;
      }
      return this.fail(
        `rows.${part}`,
        given[part],
        "the first row and the row after the last, such as [0, 800]",
      );
    };
    return { train: range("train"), test: range("test") };
  }

  private object(value: unknown, field: string, known?: readonly string[]): Json {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return this.fail(field, value, "an object");
    for (const key of Object.keys(value))
      if (known && !known.includes(key))
        this.fail(`${field}.${key}`, (value as Json)[key], `one of ${known.join(", ")}`);
    return value as Json;
  }

  private fail(field: string, received: unknown, expected: string): never {
    const shown = typeof received === "string" ? received : textOf(received);
    throw new DatasetCorruptError(this.file, {
      received: `${field}: ${shown.slice(0, 200)}`,
      expected,
    });
  }
}

function textOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    return "data that lies too deep to be shown";
  }
}
