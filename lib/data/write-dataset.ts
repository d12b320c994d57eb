/**
 * Writes columns as a data set folder: one .npy file for each array and a `dataset.json` that names them. The folder
 * appears whole or not at all; one of the same name is replaced. An array that is given twice, as an auto-encoder's
 * input and target, is one file.
 */

import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DECLARATION, PARTS, type Part } from "./declaration.ts";
import { encodeNpy, type NpyArray } from "./npy.ts";

/** [rows, ...shape of one example] for each part. */
export type PartArrays = Record<Part, NpyArray>;

export type DatasetColumns = {
  inputs: Record<string, PartArrays>;
  /** With labelNames, the integers are numbers of these classes. */
  targets: Record<string, PartArrays & { labelNames?: readonly string[] }>;
  /** FP32 [rows]: how much each example counts. */
  weights?: PartArrays;
};

/** @throws {RangeError} when an array does not have its shape's elements */
export async function writeDataset(folder: string, columns: DatasetColumns): Promise<void> {
  const parent = dirname(folder);
  await mkdir(parent, { recursive: true });
  const draft = await mkdtemp(join(parent, `.${basename(folder)}-`));
  try {
    const written = new Map<NpyArray, string>();
    const file = async (array: NpyArray, stem: string): Promise<string> => {
      const known = written.get(array);
      if (known !== undefined) return known;
      const name = `${stem}.npy`;
      written.set(array, name);
      await writeFile(join(draft, name), encodeNpy(array));
      return name;
    };
    const files = async (arrays: PartArrays, stem: string) => {
      const names: Partial<Record<Part, string>> = {};
      for (const part of PARTS) names[part] = await file(arrays[part], `${part}-${stem}`);
      return names;
    };
    // Names of columns may hold what names of files must not.
    const inputs: [string, unknown][] = [];
    for (const [i, [name, arrays]] of Object.entries(columns.inputs).entries())
      inputs.push([name, await files(arrays, `input-${i}`)]);
    const targets: [string, unknown][] = [];
    for (const [i, [name, { labelNames, ...arrays }]] of Object.entries(columns.targets).entries())
      targets.push([name, { ...(await files(arrays, `target-${i}`)), ...(labelNames && { labelNames }) }]);
    const weights = columns.weights && { weights: await files(columns.weights, "weights") };
    const declared = {
      inputs: Object.fromEntries(inputs),
      targets: Object.fromEntries(targets),
      ...weights,
    };
    await writeFile(join(draft, DECLARATION), `${JSON.stringify(declared, null, 2)}\n`);
    await rm(folder, { recursive: true, force: true });
    await rename(draft, folder);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw error;
  }
}
