/**
 * The option `initialWeights` of a training request: where weights come from, and which layers take them. Files are
 * named below the data set directory, by names that cannot lead out of it. Refuses field by field.
 */

import { InvalidInputError } from "../errors.ts";
import type { Call } from "../protocol/actions.ts";
import type { ModelVersion } from "../protocol/models.ts";
import type { InitialWeightsSpec, WeightChoice, WeightSource } from "../protocol/weights.ts";

const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const VERSION = /^([1-9]\d{0,8}|[a-z][a-z0-9-]{0,31})$/;
/** Up to four folders and a file, none of them hidden. */
const FILE = /^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}\/){0,4}[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const ARTIFACT = /^sha256:[0-9a-f]{64}$/;

const REGISTRY_TIMEOUT_MS = 10_000;
const REGISTRY_RETRIES = 3;

const SOURCES = ["model", "file", "artifact"] as const;
const CHOICE = ["layers", "skip", "allowMissing"] as const;

/** @throws {InvalidInputError} */
export function readInitialWeights(value: unknown): InitialWeightsSpec {
  const known: readonly string[] = [...SOURCES, "version", ...CHOICE];
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return refuse("", value, `an object of ${known.join(", ")}`);
  const given = value as Record<string, unknown>;
  for (const name of Object.keys(given))
    if (!known.includes(name)) refuse(`.${name}`, given[name], `no such field; known: ${known.join(", ")}`);
  return { ...readSource(given), ...readChoice(given) };
}

/** The source alone, without the choice of layers. */
export function sourceOf(spec: InitialWeightsSpec): WeightSource {
  if ("file" in spec) return { file: spec.file };
  if ("artifact" in spec) return { artifact: spec.artifact };
  return { model: spec.model, ...(spec.version !== undefined && { version: spec.version }) };
}

/** With the version a model has now, so that the job always starts from the same. @throws {ModelVersionNotFoundError} */
export async function settleVersion<S extends Extract<WeightSource, { model: string }>>(
  spec: S,
  call: Call,
): Promise<S> {
  const { version } = await versionOf(spec, call);
  return { ...spec, version };
}

/** The digest of what is to be read from the store; undefined for a file. @throws {ModelVersionNotFoundError} */
export async function artifactOf(spec: InitialWeightsSpec, call: Call): Promise<string | undefined> {
  if ("artifact" in spec) return spec.artifact;
  if ("file" in spec) return undefined;
  const { checkpoint, onnx } = (await versionOf(spec, call)).artifacts;
  return (checkpoint ?? onnx).digest;
}

function versionOf(
  { model, version }: Extract<WeightSource, { model: string }>,
  call: Call,
): Promise<ModelVersion> {
  const asked = { model, ...(version !== undefined && { version: String(version) }) };
  return call("registry.version", asked, { timeout: REGISTRY_TIMEOUT_MS, retries: REGISTRY_RETRIES });
}

function readSource(given: Record<string, unknown>): WeightSource {
  const named = SOURCES.filter((name) => given[name] !== undefined);
  if (named.length !== 1) refuse("", given, `exactly one of ${SOURCES.join(", ")}`);
  const { model, version, file, artifact } = given;
  if (version !== undefined && model === undefined) refuse(".version", version, "none without a model");
  if (model !== undefined) {
    const name = text(".model", model, MODEL_NAME, "the name of a model");
    if (version === undefined) return { model: name };
    if (typeof version !== "number" && typeof version !== "string")
      return refuse(".version", version, "a version number or an alias");
    text(".version", String(version), VERSION, "a version number or an alias");
    return { model: name, version };
  }
  if (file !== undefined)
    return {
      file: text(".file", file, FILE, 'a file below the data set directory, such as "vgg/base.keras"'),
    };
  return { artifact: text(".artifact", artifact, ARTIFACT, "sha256: and 64 hex digits") };
}

function readChoice({ layers, skip, allowMissing }: Record<string, unknown>): WeightChoice {
  if (allowMissing !== undefined && typeof allowMissing !== "boolean")
    return refuse(".allowMissing", allowMissing, "true or false");
  return {
    ...(layers !== undefined && { layers: names(".layers", layers) }),
    ...(skip !== undefined && { skip: names(".skip", skip) }),
    ...(allowMissing !== undefined && { allowMissing }),
  };
}

function names(field: string, value: unknown): string[] {
  const isList = Array.isArray(value) && value.every((name) => typeof name === "string" && name !== "");
  return isList ? (value as string[]) : refuse(field, value, "a list of layer names");
}

function text(field: string, value: unknown, pattern: RegExp, expected: string): string {
  return typeof value === "string" && pattern.test(value) ? value : refuse(field, value, expected);
}

function refuse(field: string, received: unknown, expected: string): never {
  const shown = JSON.stringify(received) ?? "nothing";
  throw new InvalidInputError({ field: `initialWeights${field}`, received: shown.slice(0, 200), expected });
}
