/**
 * What becomes of one claimed job: train, convert, evaluate, publish, promote, in that order. Every finished stage
 * is recorded, so that an attempt on another node goes on from the stored checkpoint instead of training again, and
 * a version that was already published is not published twice.
 */

import { setTimeout as wait } from "node:timers/promises";
import { errorMessage, errorType } from "../errors.ts";
import { lossOf } from "../nn/losses/table.ts";
import type { ActionName, ActionParams, ActionResult, Call } from "../protocol/actions.ts";
import type { Emit } from "../protocol/events.ts";
import type { EpochRecord, Job, JobStage, TrainingProgress } from "../protocol/jobs.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { Evaluation, ModelVersion } from "../protocol/models.ts";
import { runTask } from "../runtime/task.ts";
import type { JobStore } from "../store/job-store.ts";
import type { StoreLocation } from "../store/store.ts";
import type { TrainingNote, TrainingResult, TrainingTask } from "./training-task.ts";

export type PipelineOptions = {
  jobs: JobStore;
  call: Call;
  emit: Emit;
  /** This node's name, holder of the leases. */
  owner: string;
  store: StoreLocation;
  datasetsDirectory: string | undefined;
  threads: number;
  codeVersion: string;
  metrics: MetricSink;
};

const TASK = new URL("./training-task.ts", import.meta.url);
const RECORD_INTERVAL_MS = 1000;
/** Records are small; the checkpoint has the whole history. */
const MAX_HISTORY = 1000;
const STAGE_TIMEOUT_MS = 30 * 60_000;
/** A service that restarts is back within this many tries. */
const CALL_ATTEMPTS = 6;
const CALL_RETRY_MS = 1000;

/** Runs the job's remaining stages; gives what `JobStore.end` records. Throws when a stage fails or is cancelled. */
export async function runJob(
  job: Job,
  options: PipelineOptions,
  signal: AbortSignal,
): Promise<NonNullable<Job["result"]>> {
  const { jobs, owner } = options;
  const { id, spec } = job;
  const enter = async (stage: JobStage) => {
    await jobs.update(id, owner, (current) => ({ ...current, stage }));
    options.emit("training.stageChanged", { id, stage });
  };

  await enter("training");
  const trained = job.trained ?? (await train(job, options, signal));
  const selection = {
    dataset: spec.data.dataset,
    ...(spec.data.testLimit ? { testLimit: spec.data.testLimit } : {}),
  };

  await enter("converting");
  const converted = await call(options, signal, "converter.convert", {
    checkpoint: trained.checkpoint,
    dataset: selection,
  });

  await enter("evaluating");
  const evaluation = await call(options, signal, "evaluator.evaluate", {
    onnx: converted.onnx,
    dataset: selection,
    scores: lossOf(spec.loss).scores,
  });

  await enter("publishing");
  // The registry gives a job that was published by an earlier attempt its version back.
  const version = await call(options, signal, "registry.publish", {
    model: spec.model,
    artifacts: { onnx: converted.onnx, checkpoint: trained.checkpoint },
    signature: converted.signature,
    labels: converted.labels,
    metrics: evaluation,
    lineage: {
      jobId: id,
      dataset: trained.dataset,
      seed: spec.seed,
      engine: "onnx",
      codeVersion: options.codeVersion,
      architecture: spec.architecture,
      loss: spec.loss,
      optimizer: spec.optimizer,
      epochs: spec.epochs,
      batchSize: spec.batchSize,
      trainSeconds: trained.trainSeconds,
      parity: converted.parity,
    },
  });
  const promoted = spec.promote
    ? (await call(options, signal, "registry.promote", { model: spec.model, version: version.version }))
        .promoted
    : false;
  return resultOf(version, evaluation, trained.trainSeconds, promoted);
}

function resultOf(version: ModelVersion, evaluation: Evaluation, trainSeconds: number, promoted: boolean) {
  return { model: version.model, version: version.version, evaluation, trainSeconds, promoted };
}

async function train(
  job: Job,
  options: PipelineOptions,
  signal: AbortSignal,
): Promise<NonNullable<Job["trained"]>> {
  const { jobs, owner, emit } = options;
  const { id } = job;
  const lost = new AbortController();
  let history: EpochRecord[] = [];
  let progress: TrainingProgress | undefined;
  let recordedAt = 0;
  let writing: Promise<void> | undefined;
  /** Writes the latest of everything; a lease that is lost, or a wish to cancel, stops the thread. */
  const record = async () => {
    try {
      const current = await jobs.update(id, owner, (job) => ({
        ...job,
        history,
        ...(progress && { progress }),
      }));
      if (current.cancelRequested) lost.abort();
    } catch (error) {
      if (errorType(error) === "JOB_STATE") lost.abort();
    }
  };

  const task: TrainingTask = {
    spec: job.spec,
    store: options.store,
    datasetsDirectory: options.datasetsDirectory,
    threads: options.threads,
  };
  const result = await runTask<TrainingTask, TrainingResult, TrainingNote>(TASK, task, {
    name: `training job ${id}`,
    signal: AbortSignal.any([signal, lost.signal]),
    onNote(note) {
      if (note.kind === "epoch") {
        history = [...history, note.epoch].slice(-MAX_HISTORY);
        emit("training.epochCompleted", { id, epoch: note.epoch });
        options.metrics.increment("moiety.training.examples", {}, note.examples);
      } else {
        progress = note.progress;
        emit("training.progressed", { id, progress });
      }
      // One write at a time, however fast the notes come and however slow the store is.
      const now = performance.now();
      if (writing || now - recordedAt < RECORD_INTERVAL_MS) return;
      recordedAt = now;
      writing = record().finally(() => {
        writing = undefined;
      });
    },
  });
  await writing;
  const { checkpoint, dataset, trainSeconds } = result;
  const trained = { checkpoint, dataset, trainSeconds };
  history = result.history.slice(-MAX_HISTORY);
  await jobs.update(id, owner, (current) => ({ ...current, history, trained }));
  return trained;
}

/** Calls another service, again while it says that a later try may succeed. */
async function call<A extends ActionName>(
  options: PipelineOptions,
  signal: AbortSignal,
  action: A,
  params: ActionParams<A>,
): Promise<ActionResult<A>> {
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await options.call(action, params, { timeout: STAGE_TIMEOUT_MS });
    } catch (error) {
      const retryable = (error as { retryable?: unknown }).retryable === true;
      if (!retryable || attempt >= CALL_ATTEMPTS) throw error;
      await wait(CALL_RETRY_MS * attempt, undefined, { signal });
    }
  }
}

/** How an ended job records what went wrong. */
export function jobError(error: unknown): NonNullable<Job["error"]> {
  const data = (error as { data?: unknown }).data;
  return { type: errorType(error), message: errorMessage(error), ...(data === undefined ? {} : { data }) };
}
