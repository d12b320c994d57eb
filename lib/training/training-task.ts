/** The trainer's thread: a specification in, a stored checkpoint out; progress and epochs as notes on the way. */

import { bindExamples } from "../data/bind-examples.ts";
import { loadDataset } from "../data/datasets.ts";
import { firstExamples } from "../data/examples.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import type {
  EngineName,
  EpochRecord,
  JobCheckpoint,
  TrainingProgress,
  TrainingSpec,
} from "../protocol/jobs.ts";
import type { Lineage } from "../protocol/models.ts";
import type { InitialWeightsRecord } from "../protocol/weights.ts";
import { serveTask } from "../runtime/task.ts";
import { JobCheckpoints } from "../store/job-checkpoints.ts";
import { openStore } from "../store/open-store.ts";
import type { ArtifactRef, StoreLocation } from "../store/store.ts";
import { writeCheckpoint } from "./checkpoint.ts";
import { Checkpointer, SuspendedRun } from "./checkpointer.ts";
import { engineFor } from "./engine-for.ts";
import type { ProviderName } from "./execution-provider.ts";
import { loadWeights, type WantedWeights } from "./load-weights.ts";
import { objectiveOf } from "./read-objective.ts";
import { endsOf, planWeights } from "./step-graph.ts";
import { TrainingRun } from "./training-run.ts";
import { assertLabelsFit, labelsOf } from "./version-labels.ts";

export type TrainingTask = {
  job: { id: string; attempt: number /** Newest first. */; checkpoints: JobCheckpoint[] };
  spec: TrainingSpec;
  /** Undefined: fresh weights. */
  initialWeights: WantedWeights | undefined;
  store: StoreLocation;
  datasetsDirectory: string | undefined;
  datasetsMemoryBytes: number;
  threads: number;
  executionProvider: ProviderName;
  /** One element; 1 once the run is to be stored and left to another attempt. */
  suspendFlag: Int32Array;
};

export type TrainingNote =
  /** At the start, or where an earlier attempt was stored. */
  | { kind: "began"; epoch: number; step: number; history: EpochRecord[] }
  /** What computes, and where. */
  | { kind: "backend"; engine: EngineName; backend: string }
  | { kind: "initialised"; record: InitialWeightsRecord }
  | { kind: "checkpoint"; checkpoint: JobCheckpoint }
  | { kind: "warning"; message: string }
  | { kind: "progress"; progress: TrainingProgress }
  | { kind: "epoch"; epoch: EpochRecord; examples: number };

export type TrainingResult = {
  checkpoint: ArtifactRef;
  dataset: Lineage["dataset"];
  trainSeconds: number;
  history: EpochRecord[];
  backend: string;
  initialWeights?: InitialWeightsRecord;
};

const CHECKPOINT_SECONDS = 10;

/** Gives nothing when the run was stored to be gone on with. */
serveTask(
  async (
    task: TrainingTask,
    context: { cancelled(): boolean; note(note: TrainingNote): void },
  ): Promise<TrainingResult | undefined> => {
    const { spec } = task;
    // A bad specification is refused before any data is read.
    const network = parseNetwork(spec.architecture);
    const plan = planWeights(network);
    const objective = objectiveOf(spec, network, plan);
    const optimizer = optimizerOf(spec.optimizer);
    const warn = (message: string) => context.note({ kind: "warning", message });
    const { engine, provider, backend } = await engineFor(task, warn);
    context.note({ kind: "backend", engine: spec.engine ?? "onnx", backend });
    const validationSplit = spec.data.validationSplit ?? 0;
    const store = await openStore(task.store);
    try {
      const { artifacts } = store;
      const { datasetsDirectory } = task;
      const loaded =
        task.initialWeights &&
        (await loadWeights([...plan.trained, ...plan.statistics], task.initialWeights, {
          artifacts,
          datasetsDirectory,
        }));
      if (loaded) context.note({ kind: "initialised", record: loaded.record });
      const dataset = await loadDataset(spec.data.dataset, datasetsDirectory, task.datasetsMemoryBytes);
      // The test set must fit too: found out only after training, it would have wasted it.
      const test = firstExamples(dataset.test, spec.data.testLimit);
      const target = bindExamples(endsOf(network, plan), test, spec.data).targets[0]!;
      const recorded = { spec, initialWeights: loaded?.record };
      assertLabelsFit(target.name, labelsOf(target, plan, objective), recorded);
      const examples = firstExamples(dataset.train, spec.data.trainLimit);
      const { epochs, batchSize, seed } = spec;
      const run = new TrainingRun(
        {
          network,
          objective,
          optimizer,
          callbacks: spec.callbacks ?? [],
          epochs,
          batchSize,
          seed,
          validationSplit,
          threads: task.threads,
          columns: spec.data,
          initialWeights: loaded?.values,
          provider,
          engine,
        },
        examples,
      );
      const checkpoints = new JobCheckpoints(store);
      const checkpointer = new Checkpointer({
        run,
        identity: { jobId: task.job.id, attempt: task.job.attempt, datasetDigest: dataset.digest },
        checkpoints,
        everySeconds: spec.checkpointSeconds ?? CHECKPOINT_SECONDS,
        suspended: () => Atomics.load(task.suspendFlag, 0) === 1,
        stored: (checkpoint) => context.note({ kind: "checkpoint", checkpoint }),
        warn,
      });
      await checkpointer.resume(task.job.checkpoints);
      context.note({ kind: "began", ...run.position });
      const history = await run.run({
        cancelled: context.cancelled,
        atRest: () => checkpointer.atRest(),
        progress: (progress) => context.note({ kind: "progress", progress }),
        epochCompleted: (epoch) => context.note({ kind: "epoch", epoch, examples: run.trainExamples }),
      });
      const { trainSeconds } = run;
      const counts = { trainExamples: run.trainExamples, validationExamples: run.validationExamples };
      const { name, digest } = dataset;
      const labelNames = dataset.train.targets[0]?.labelNames ?? [];
      const facts = { spec, dataset: { name, digest, labelNames, ...counts }, history, trainSeconds };
      const checkpoint = await store.artifacts.put(writeCheckpoint(facts, run.plan, run.state()));
      await run.close();
      await dataset.close();
      const testExamples = firstExamples(dataset.test, spec.data.testLimit).count;
      return {
        checkpoint,
        dataset: { name, digest, ...counts, testExamples },
        trainSeconds,
        history,
        backend,
        ...(loaded && { initialWeights: loaded.record }),
      };
    } catch (error) {
      if (error instanceof SuspendedRun) return undefined;
      throw error;
    } finally {
      await store.close();
    }
  },
);
