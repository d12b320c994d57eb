/** The converter's thread: checkpoint in, served model out, both by reference. */

import { loadDataset } from "../data/datasets.ts";
import { classNames, firstExamples } from "../data/examples.ts";
import { lossOf } from "../nn/losses/table.ts";
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
};

serveTask(async (task: ConvertTask): Promise<ActionResult<"converter.convert">> => {
  const store = await openStore(task.store);
  try {
    const checkpoint = readCheckpoint(await store.artifacts.get(task.checkpoint.digest));
    const dataset = await loadDataset(task.dataset.dataset, task.datasetsDirectory);
    const examples = firstExamples(dataset.test, task.dataset.testLimit);
    const { bytes, signature, parity } = await convertCheckpoint(checkpoint, examples);
    const outputs = signature.outputs[0]!.shape.at(-1)!;
    const named = outputs > 1 || lossOf(checkpoint.spec.loss).scores === "probabilities";
    const labels = named ? classNames(dataset.labelNames, outputs) : [];
    return { onnx: await store.artifacts.put(bytes), signature, labels, parity };
  } finally {
    await store.close();
  }
});
