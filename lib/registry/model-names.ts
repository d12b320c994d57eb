/**
 * What models, aliases and versions may be called. Aliases begin with a lower-case letter, so no alias can be taken
 * for a version number.
 */

import { InvalidInputError } from "../errors.ts";

export const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const ALIAS_NAME = /^[a-z][a-z0-9-]{0,31}$/;
const VERSION_NUMBER = /^[1-9]\d{0,8}$/;

/** @throws {InvalidInputError} */
export function assertModelName(name: string): void {
  if (typeof name !== "string" || !MODEL_NAME.test(name))
    throw new InvalidInputError({
      field: "model",
      received: JSON.stringify(name) ?? "undefined",
      expected: "1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit",
    });
}

/** @throws {InvalidInputError} */
export function assertAliasName(alias: string): void {
  if (typeof alias !== "string" || !ALIAS_NAME.test(alias))
    throw new InvalidInputError({
      field: "alias",
      received: JSON.stringify(alias) ?? "undefined",
      expected: "1 to 32 of a-z 0-9 - beginning with a letter",
    });
}

/** The version a text of digits stands for; undefined when it is none (then it may be an alias). */
export function parseVersionNumber(text: string): number | undefined {
  return VERSION_NUMBER.test(text) ? Number(text) : undefined;
}
