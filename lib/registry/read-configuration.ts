/**
 * A model's serving configuration as someone gives it: unknown fields, wrong types and values out of range are refused
 * by name, so that a misspelt one is not ignored in silence.
 */

import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import { type Fields, integer, objectOf, own, readFields, refuse, within } from "./fields.ts";

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
    else
      read[name] = readFields(
        section,
        `configuration.${name}`,
        own(SECTIONS, name, "configuration", ["versions"]),
      );
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
