/**
 * A model's serving configuration as someone gives it: unknown fields, wrong types and values out of range are refused
 * by name, so that a misspelt one is not ignored in silence.
 */

import { EXECUTION_PROVIDERS, type ModelConfiguration } from "../protocol/model-configuration.ts";
import { type Fields, integer, objectOf, oneOf, own, readFields, refuse, within } from "./fields.ts";
import { readWarmup } from "./read-warmup.ts";

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
    whenFull: oneOf("reject", "delay"),
  },
  instances: {
    workers: integer(1, 256),
    intraOpThreads: integer(1, 256),
  },
  cache: {
    enabled: { expected: "true or false", accepts: (value) => typeof value === "boolean" },
    ttlSeconds: integer(1, 31_536_000),
    maxBytes: integer(0, 2 ** 40),
  },
} as const satisfies Record<string, Fields>;

/** What is not an object of plain fields. */
const OTHERS: Readonly<Record<string, (value: unknown, field: string) => unknown>> = {
  provider: readProvider,
  warmup: readWarmup,
  labels: readLabels,
  versions: readVersions,
};

/** Most versions that can be listed by number. */
const MAX_NUMBERS = 1000;
/** Most names of classes, and the longest of them in characters. */
const MAX_LABELS = 100_000;
const MAX_LABEL_LENGTH = 256;

/** @throws {InvalidInputError} naming the field, what came and what was expected */
export function readModelConfiguration(value: unknown): ModelConfiguration {
  const given = objectOf(value, "configuration");
  const read: Record<string, unknown> = {};
  for (const [name, section] of Object.entries(given)) {
    const field = `configuration.${name}`;
    read[name] = Object.hasOwn(OTHERS, name)
      ? OTHERS[name]!(section, field)
      : readFields(section, field, own(SECTIONS, name, "configuration", Object.keys(OTHERS)));
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

function readProvider(value: unknown, field: string): unknown {
  const { accepts, expected } = oneOf(...EXECUTION_PROVIDERS);
  return accepts(value) ? value : refuse(field, value, expected);
}

function readLabels(value: unknown, field: string): string[] {
  if (!Array.isArray(value) || value.length > MAX_LABELS)
    refuse(field, value, `an array of at most ${MAX_LABELS} names`);
  for (const [i, label] of value.entries())
    if (typeof label !== "string" || label.length > MAX_LABEL_LENGTH)
      refuse(`${field}[${i}]`, label, `a string of at most ${MAX_LABEL_LENGTH} characters`);
  return [...value];
}

function readVersions(value: unknown, field: string): ModelConfiguration["versions"] {
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
  return refuse(field, value, expected);
}
