/**
 * A model's serving configuration as someone gives it: unknown fields, wrong types and values out of range are refused
 * by name, so that a misspelt one is not ignored in silence.
 */

import { InvalidInputError } from "../errors.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";

type Check = { expected: string; accepts(value: unknown): boolean };
type Fields = Readonly<Record<string, Check>>;

const integer = (min: number, max: number): Check => ({
  expected: `an integer from ${min} to ${max}`,
  accepts: (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
});

const SECTIONS = {
  batching: {
    maxRows: integer(1, 4096),
    queueDelayMs: { expected: "0 to 1000 ms", accepts: within(0, 1000) },
  },
  queue: {
    maxRequests: integer(1, 1_000_000),
    timeoutMs: { expected: "1 to 600000 ms", accepts: within(1, 600_000) },
    priorityLevels: integer(1, 1000),
    defaultPriority: integer(1, 1000),
  },
  cache: {
    enabled: { expected: "true or false", accepts: (value) => typeof value === "boolean" },
    ttlSeconds: integer(1, 31_536_000),
  },
} as const satisfies Record<string, Fields>;

/** Most versions that can be listed by number. */
const MAX_NUMBERS = 1000;

/** @throws {InvalidInputError} naming the field, what came and what was expected */
export function readModelConfiguration(value: unknown): ModelConfiguration {
  const given = objectOf(value, "configuration");
  const read: Record<string, unknown> = {};
  for (const [name, section] of Object.entries(given)) {
    if (name === "versions") read.versions = readVersions(section);
    else read[name] = readSection(section, name, own(SECTIONS, name, "configuration", ["versions"]));
  }
  const configuration = read as ModelConfiguration;
  const { priorityLevels, defaultPriority } = configuration.queue ?? {};
  if (defaultPriority !== undefined && defaultPriority > (priorityLevels ?? 16))
    refuse(
      "configuration.queue.defaultPriority",
      defaultPriority,
      `at most ${priorityLevels ?? 16}, the priority levels`,
    );
  return configuration;
}

function readSection(value: unknown, name: string, fields: Fields): Record<string, unknown> {
  const field = `configuration.${name}`;
  const section = objectOf(value, field);
  for (const [key, item] of Object.entries(section)) {
    const { accepts, expected } = own(fields, key, field);
    if (!accepts(item)) refuse(`${field}.${key}`, item, expected);
  }
  return { ...section };
}

function readVersions(value: unknown): ModelConfiguration["versions"] {
  const expected = '"all", {"latest": n} or {"numbers": [n, …]}, from 1';
  const counts = integer(1, 999_999_999);
  if (value === "all") return "all";
  const { latest, numbers, ...others } = (typeof value === "object" && value !== null ? value : {}) as {
    latest?: unknown;
    numbers?: unknown;
  };
  if (Object.keys(others).length === 0) {
    if (numbers === undefined && counts.accepts(latest)) return { latest: latest as number };
    if (
      latest === undefined &&
      Array.isArray(numbers) &&
      numbers.length <= MAX_NUMBERS &&
      numbers.every(counts.accepts)
    )
      return { numbers: numbers as number[] };
  }
  return refuse("configuration.versions", value, expected);
}

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(field, value, "an object");
  return value as Record<string, unknown>;
}

function within(min: number, max: number): Check["accepts"] {
  return (value) => typeof value === "number" && value >= min && value <= max;
}

function own<T>(table: Readonly<Record<string, T>>, key: string, field: string, others: string[] = []): T {
  if (!Object.hasOwn(table, key))
    throw new InvalidInputError({
      field: `${field}.${key}`,
      received: "a field that is not known",
      expected: `one of ${[...Object.keys(table), ...others].join(", ")}`,
    });
  return table[key]!;
}

function refuse(field: string, value: unknown, expected: string): never {
  throw new InvalidInputError({
    field,
    received: (JSON.stringify(value) ?? "nothing").slice(0, 80),
    expected,
  });
}
