/**
 * The store as one folder: `artifacts/` and `records/`. Opening proves that the folder can be written, so that a
 * wrong path or a missing permission stops the start and not the end of a training run, and once a day clears
 * away what crashed writers and deleted keys have left.
 */

import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FileArtifactStore } from "./file-artifacts.ts";
import { FileKeyValueStore } from "./file-records.ts";
import { failureCode, guarded } from "./file-system.ts";
import type { Store } from "./store.ts";

const SWEEP_INTERVAL_MS = 24 * 3600 * 1000;
/** No write is in flight for a week: older leftovers are nobody's. */
const LEFTOVER_AGE_MS = 7 * SWEEP_INTERVAL_MS;

/** @throws {StoreUnavailableError} naming the path and what is wrong with it */
export async function openFileStore(directory: string): Promise<Store> {
  const artifacts = await FileArtifactStore.open(join(directory, "artifacts"));
  const records = await FileKeyValueStore.open(join(directory, "records"));
  const marker = join(directory, "swept");
  if (Date.now() - (await modifiedMs(marker)) > SWEEP_INTERVAL_MS) {
    await guarded(marker, () => writeFile(marker, ""));
    await artifacts.sweep(LEFTOVER_AGE_MS);
    await records.sweep(LEFTOVER_AGE_MS);
  }
  return {
    artifacts,
    records,
    async close() {
      artifacts.close();
      records.close();
    },
  };
}

function modifiedMs(file: string): Promise<number> {
  return guarded(file, async () => {
    try {
      return (await stat(file)).mtimeMs;
    } catch (error) {
      if (failureCode(error) === "ENOENT") return Number.NEGATIVE_INFINITY;
      throw error;
    }
  });
}
