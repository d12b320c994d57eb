/**
 * Reads the file that a network is to start from, wherever it is, and takes from it what the network has a place for.
 * A job that was begun with one file does not go on with another.
 */

import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, InvalidInputError } from "../errors.ts";
import type { WeightSpec } from "../nn/layer.ts";
import type { InitialWeightsRecord, InitialWeightsSpec } from "../protocol/weights.ts";
import { digestOf } from "../store/digest.ts";
import type { ArtifactStore } from "../store/store.ts";
import { takeWeights } from "./take-weights.ts";
import { readWeightFile } from "./weight-file.ts";
import { sourceOf } from "./weight-source.ts";

export type WeightPlaces = {
  artifacts: Pick<ArtifactStore, "get">;
  datasetsDirectory: string | undefined;
};

export type WantedWeights = {
  spec: InitialWeightsSpec;
  /** The network they are for. */
  architecture?: object;
  /** What to read from the store; undefined: a file. */
  artifact: string | undefined;
  /** What an earlier attempt at the job read. */
  digest: string | undefined;
};

export type LoadedWeights = { values: ReadonlyMap<string, Float32Array>; record: InitialWeightsRecord };

/** @throws {InvalidInputError} {InvalidModelError} {ArtifactNotFoundError} {StoreUnavailableError} */
export async function loadWeights(
  specs: readonly WeightSpec[],
  wanted: WantedWeights,
  { artifacts, datasetsDirectory }: WeightPlaces,
): Promise<LoadedWeights> {
  const { spec } = wanted;
  const bytes =
    "file" in spec
      ? await readFileBelow(spec.file, datasetsDirectory)
      : await artifacts.get(wanted.artifact ?? "");
  const digest = await digestOf(bytes);
  if (wanted.digest !== undefined && wanted.digest !== digest)
    throw new InvalidInputError({
      field: "initialWeights",
      received: digest,
      expected: `${wanted.digest}, as when the job began`,
    });
  const file = readWeightFile(bytes, wanted.architecture);
  const { values, taken, fresh } = takeWeights(specs, file, spec);
  return { values, record: { source: sourceOf(spec), digest, format: file.format, taken, fresh } };
}

/** @throws {InvalidInputError} when there is no such file */
export async function assertFile(file: string, directory: string | undefined): Promise<void> {
  const path = pathOf(file, directory);
  await access(path).catch((error: unknown) => refuse(file, errorMessage(error)));
}

async function readFileBelow(file: string, directory: string | undefined): Promise<Uint8Array> {
  try {
    return await readFile(pathOf(file, directory));
  } catch (error) {
    return error instanceof InvalidInputError ? Promise.reject(error) : refuse(file, errorMessage(error));
  }
}

function pathOf(file: string, directory: string | undefined): string {
  if (directory === undefined) return refuse(file, "MOIETY_DATASETS_DIR is not set");
  return join(directory, file);
}

function refuse(file: string, reason: string): never {
  throw new InvalidInputError({
    field: "initialWeights.file",
    received: `'${file}' (${reason})`,
    expected: "a file below the data set directory of this node",
  });
}
