/**
 * How a model folder says its model is to be served: `config.pbtxt`, Triton's, or `config.json`, a ModelConfiguration
 * as `PUT /api/models/:model/configuration` takes it. Two of them would be two truths and are refused.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, InvalidInputError } from "../errors.ts";
import type { Ensemble } from "../protocol/ensembles.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import { readModelConfiguration } from "../registry/read-configuration.ts";
import type { Declarations } from "./declared-tensors.ts";
import type { ModelFolder } from "./folder-scan.ts";
import { CONFIG_FILE, readTritonConfiguration } from "./triton-configuration.ts";

export type FolderConfiguration = {
  /** Undefined: the folder does not say. */
  configuration: ModelConfiguration | undefined;
  /** Undefined: nothing. */
  declared: Declarations | undefined;
  modelFile: string;
  /** Undefined: the model is a file in each version's folder. */
  ensemble: Ensemble | undefined;
  warnings: string[];
};

const OWN_FILE = "config.json";
export const ENSEMBLE_FILE = "ensemble.json";
const MAX_CONFIG_BYTES = 2 ** 20;
const MAX_LABEL_BYTES = 16 * 2 ** 20;

const SAYS_NOTHING: FolderConfiguration = {
  configuration: undefined,
  declared: undefined,
  modelFile: "model.onnx",
  ensemble: undefined,
  warnings: [],
};

/** @throws {InvalidInputError} naming file and field */
export async function readFolderConfiguration({
  model,
  path,
  files,
}: ModelFolder): Promise<FolderConfiguration> {
  const [triton, own] = [files.includes(CONFIG_FILE), files.includes(OWN_FILE)];
  if (triton && own)
    throw new InvalidInputError({
      field: "configuration",
      received: `${CONFIG_FILE} and ${OWN_FILE}`,
      expected: "one of them",
    });
  if (own) {
    const configuration = readModelConfiguration(
      parseJson(await readText(path, OWN_FILE, MAX_CONFIG_BYTES), OWN_FILE),
    );
    return { ...SAYS_NOTHING, configuration };
  }
  if (!triton) return SAYS_NOTHING;
  const read = readTritonConfiguration(await readText(path, CONFIG_FILE, MAX_CONFIG_BYTES), model);
  const labels =
    read.labelFile === undefined ? {} : { labels: await readLabels(path, read.labelFile, files) };
  const configuration = readModelConfiguration({ ...read.configuration, ...labels });
  const { inputs, outputs, batched, modelFile, ensemble, warnings } = read;
  // An ensemble's tensors are what it declares.
  const declared = ensemble ? undefined : { inputs, outputs, batched };
  return { configuration, declared, modelFile, ensemble, warnings };
}

/** The ensemble that stands in a version's folder in place of a model. @throws {InvalidInputError} not JSON */
export async function readEnsembleFile(folder: string): Promise<unknown> {
  return parseJson(await readText(folder, ENSEMBLE_FILE, MAX_CONFIG_BYTES), ENSEMBLE_FILE);
}

/** One class a line; an empty last line is none. */
async function readLabels(path: string, file: string, files: readonly string[]): Promise<string[]> {
  if (!files.includes(file))
    throw new InvalidInputError({
      field: `${CONFIG_FILE}: output.label_filename`,
      received: JSON.stringify(file),
      expected: "a file in the model's folder",
    });
  const lines = (await readText(path, file, MAX_LABEL_BYTES)).split(/\r?\n/);
  return lines.at(-1) === "" ? lines.slice(0, -1) : lines;
}

async function readText(folder: string, file: string, maxBytes: number): Promise<string> {
  const bytes = await readFile(join(folder, file));
  if (bytes.byteLength > maxBytes)
    throw new InvalidInputError({
      field: file,
      received: `${bytes.byteLength} bytes`,
      expected: `at most ${maxBytes}`,
    });
  return bytes.toString("utf8");
}

function parseJson(text: string, field: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidInputError({ field, received: errorMessage(error), expected: "JSON" });
  }
}
