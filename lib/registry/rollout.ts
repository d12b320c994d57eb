/**
 * Rollouts as someone gives them, and how they end. A canary and a shadow stand beside the production version, so
 * there must be one, and they must be others. What has become the production version is neither any more.
 */

import { InvalidInputError, ModelVersionNotFoundError } from "../errors.ts";
import {
  type ModelRecord,
  PRODUCTION_ALIAS,
  type RollBack,
  type Rollout,
  type RolloutRecord,
} from "../protocol/models.ts";
import { type Check, type Fields, integer, objectOf, own, readFields, refuse, within } from "./fields.ts";

/** How many of a model's roll-backs are remembered. */
const MAX_ROLLBACKS = 10;

const versionNumber = integer(1, 999_999_999);
const between = (min: number, max: number): Check => ({
  expected: `a number from ${min} to ${max}`,
  accepts: within(min, max),
});
const share: Check = {
  expected: "a number above 0, to 1",
  accepts: (value) => typeof value === "number" && value > 0 && value <= 1,
};
/** Read with fields of its own. */
const section: Check = { expected: "an object", accepts: () => true };

const BOUNDS: Fields = {
  errorRate: between(0, 1),
  latencyRatio: between(1, 1000),
  minRequests: integer(1, 100_000),
};
const CANARY: Fields = { version: versionNumber, weight: share, bounds: section };
const SHADOW: Fields = { version: versionNumber, share, tolerance: between(0, Number.MAX_VALUE) };
const PARTS = {
  canary: { fields: CANARY, required: ["version", "weight"] },
  shadow: { fields: SHADOW, required: ["version"] },
} as const;

/** @throws {InvalidInputError} naming the field, what came and what was expected */
export function readRollout(value: unknown): Rollout {
  const read: Record<string, Record<string, unknown>> = {};
  for (const [name, part] of Object.entries(objectOf(value, "rollout"))) {
    const field = `rollout.${name}`;
    const { fields, required } = own(PARTS, name, "rollout");
    const given = readFields(part, field, fields);
    for (const key of required)
      if (given[key] === undefined) refuse(`${field}.${key}`, undefined, fields[key]!.expected);
    if (given.bounds !== undefined) given.bounds = readFields(given.bounds, `${field}.bounds`, BOUNDS);
    read[name] = given;
  }
  return read as Rollout;
}

/**
 * That a model can be rolled out so.
 * @throws {InvalidInputError} {ModelVersionNotFoundError}
 */
export function assertRollout({ model, versions, aliases }: ModelRecord, rollout: Rollout): void {
  const production = aliases[PRODUCTION_ALIAS];
  for (const [name, { version }] of Object.entries(rollout)) {
    if (production === undefined)
      throw new InvalidInputError({
        field: `rollout.${name}`,
        received: "a version beside production",
        expected: `a model whose alias '${PRODUCTION_ALIAS}' has been set`,
      });
    if (!versions.includes(version)) throw new ModelVersionNotFoundError(model, String(version), versions);
    if (version === production)
      refuse(`rollout.${name}.version`, version, "another version than that in production");
  }
}

/** The rollout less what is the production version now; undefined when nothing is left. */
export function withoutVersion(
  { canary, shadow, startedAt }: RolloutRecord,
  production: number,
): RolloutRecord | undefined {
  return rolloutRecord(
    {
      ...(canary && canary.version !== production && { canary }),
      ...(shadow && shadow.version !== production && { shadow }),
    },
    startedAt,
  );
}

/** The rollout without its canary; undefined when nothing is left. */
export function withoutCanary({ shadow, startedAt }: RolloutRecord): RolloutRecord | undefined {
  return rolloutRecord(shadow ? { shadow } : {}, startedAt);
}

/** What is kept of it; undefined for an empty one. */
export function rolloutRecord(rollout: Rollout, startedAt: string): RolloutRecord | undefined {
  return rollout.canary || rollout.shadow ? { ...rollout, startedAt } : undefined;
}

export function remember(rollbacks: readonly RollBack[] | undefined, rollBack: RollBack): RollBack[] {
  return [...(rollbacks ?? []), rollBack].slice(-MAX_ROLLBACKS);
}
