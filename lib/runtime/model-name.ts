/** A version of a model. */
export type ModelName = { model: string; version: string };

/** One load of a version: a new configuration is loaded beside the old. */
export type InstanceName = ModelName & { /** @default none: there is only one */ instance?: number };

/** Versions are digits, so what follows the last slash is unambiguous. */
export function modelId({ model, version, instance }: InstanceName): string {
  return `${model}/${version}${instance ? `#${instance}` : ""}`;
}
