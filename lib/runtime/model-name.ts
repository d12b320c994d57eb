/**
 * A loaded version; `instance` tells several loads of the same one apart, of which the first has none: a new
 * configuration is loaded beside the old.
 */
export type ModelName = { model: string; version: string; instance?: number };

/** Versions are digits, so what follows the last slash is unambiguous. */
export function modelId({ model, version, instance }: ModelName): string {
  return `${model}/${version}${instance ? `#${instance}` : ""}`;
}
