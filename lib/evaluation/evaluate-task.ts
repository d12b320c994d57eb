/** The evaluator's thread: a served model and a data set in, its scores out. */

import { loadTestExamples } from "../data/datasets.ts";
import { firstExamples } from "../data/examples.ts";
import type { DatasetSelection } from "../protocol/actions.ts";
import type { Evaluation, OutputScores } from "../protocol/models.ts";
import { serveTask } from "../runtime/task.ts";
import { openStore } from "../store/open-store.ts";
import type { ArtifactRef, StoreLocation } from "../store/store.ts";
import { evaluateModel } from "./evaluate-model.ts";

export type EvaluateTask = {
  store: StoreLocation;
  onnx: ArtifactRef;
  dataset: DatasetSelection;
  scores?: Record<string, OutputScores>;
  batchSize?: number;
  datasetsDirectory: string | undefined;
  datasetsMemoryBytes: number;
};

serveTask(async (task: EvaluateTask, context): Promise<Evaluation> => {
  const store = await openStore(task.store);
  try {
    const model = await store.artifacts.get(task.onnx.digest);
    const { dataset, testLimit } = task.dataset;
    const tests = await loadTestExamples(dataset, task.datasetsDirectory, task.datasetsMemoryBytes);
    try {
      return await evaluateModel(model, firstExamples(tests, testLimit), {
        columns: task.dataset,
        cancelled: context.cancelled,
        ...(task.scores && { scores: task.scores }),
        ...(task.batchSize && { batchSize: task.batchSize }),
      });
    } finally {
      await tests.close();
    }
  } finally {
    await store.close();
  }
});
