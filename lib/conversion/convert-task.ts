/** The converter's thread: checkpoint in, served model out, both by reference. */

import { loadTestExamples } from "../data/datasets.ts";
import { firstExamples } from "../data/examples.ts";
import type { ActionResult, DatasetSelection } from "../protocol/actions.ts";
import { serveTask } from "../runtime/task.ts";
import { openStore } from "../store/open-store.ts";
import type { ArtifactRef, StoreLocation } from "../store/store.ts";
import { readCheckpoint } from "../training/checkpoint.ts";
import { convertCheckpoint } from "./convert-checkpoint.ts";

export type ConvertTask = {
  store: StoreLocation;
  checkpoint: ArtifactRef;
  dataset: DatasetSelection;
  datasetsDirectory: string | undefined;
  datasetsMemoryBytes: number;
};

serveTask(async (task: ConvertTask): Promise<ActionResult<"converter.convert">> => {
  const store = await openStore(task.store);
  try {
    const checkpoint = readCheckpoint(await store.artifacts.get(task.checkpoint.digest));
    const { dataset, testLimit } = task.dataset;
    const tests = await loadTestExamples(dataset, task.datasetsDirectory, task.datasetsMemoryBytes);
    try {
      const converted = await convertCheckpoint(checkpoint, firstExamples(tests, testLimit), task.dataset);
      const { bytes, ...rest } = converted;
      return { onnx: await store.artifacts.put(bytes), ...rest };
    } finally {
      await tests.close();
    }
  } finally {
    await store.close();
  }
});
