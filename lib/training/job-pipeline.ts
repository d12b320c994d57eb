/**
 * What becomes of one claimed job: train, convert, evaluate, publish, promote, in that order. Every finished stage
 * is recorded, so that an attempt on another node goes on from the stored checkpoint instead of training again, and
 * a version that was already published is not published twice.
 *
 * A job that is cancelled ends without waiting for an answer, but for the registry's: what it was asked for may be done,
 * and cannot be undone. A version that was published before the job heard of its cancellation stays, unpromoted.
 */

import { setTimeout as wait } from "node:timers/promises";
import { DrainingError, errorMessage, errorType } from "../errors.ts";
import type { ActionName, ActionParams, ActionResult } from "../protocol/actions.ts";
import type { Job, JobStage, TrainingSpec } from "../protocol/jobs.ts";
import { type TrainStageOptions, trainStage } from "./train-stage.ts";

export type PipelineOptions = TrainStageOptions & { codeVersion: string };

const STAGE_TIMEOUT_MS = 30 * 60_000;
const REGISTRY_TIMEOUT_MS = 30_000;
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
  const trained = job.trained ?? (await trainStage(job, options, signal));
  const { trainLimit: _, validationSplit: __, ...selection } = spec.data;

  await enter("converting");
  const converted = await call(options, signal, "converter.convert", {
    checkpoint: trained.checkpoint,
    dataset: selection,
  });

  await enter("evaluating");
  const evaluation = await call(options, signal, "evaluator.evaluate", {
    onnx: converted.onnx,
    dataset: selection,
    scores: converted.scores,
    batchSize: spec.batchSize,
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
      data: spec.data,
      seed: spec.seed,
      engine: spec.engine ?? "onnx",
      ...(trained.backend !== undefined && { backend: trained.backend }),
      codeVersion: options.codeVersion,
      architecture: spec.architecture,
      loss: spec.loss,
      ...(spec.lossWeights && { lossWeights: spec.lossWeights }),
      ...(spec.classWeights && { classWeights: spec.classWeights }),
      optimizer: spec.optimizer,
      ...(spec.callbacks && { callbacks: spec.callbacks }),
      epochs: spec.epochs,
      batchSize: spec.batchSize,
      trainSeconds: trained.trainSeconds,
      ...(trained.initialWeights && { initialWeights: trained.initialWeights }),
      parity: converted.parity,
    },
  });
  const { promoted, reason } = await promotion(options, signal, spec, version.version);
  return {
    model: version.model,
    version: version.version,
    evaluation,
    trainSeconds: trained.trainSeconds,
    promoted,
    promotionReason: reason,
  };
}

/** Moves the alias if that is wanted, and says why it was moved or was not. */
async function promotion(
  options: PipelineOptions,
  signal: AbortSignal,
  { model, promote }: TrainingSpec,
  version: number,
): Promise<{ promoted: boolean; reason: string }> {
  if (!promote) return { promoted: false, reason: "the request asked for no promotion" };
  if (isCancelled(signal)) return { promoted: false, reason: "the job was cancelled while it was published" };
  return call(options, signal, "registry.promote", { model, version });
}

/**
 * Calls another service, again while it says that a later try may succeed. Once the signal is aborted the answer is
 * not waited for, unless it is the registry's to a job that is cancelled.
 */
async function call<A extends ActionName>(
  options: PipelineOptions,
  signal: AbortSignal,
  action: A,
  params: ActionParams<A>,
): Promise<ActionResult<A>> {
  const isLasting = action.startsWith("registry.");
  const timeout = isLasting ? REGISTRY_TIMEOUT_MS : STAGE_TIMEOUT_MS;
  for (let attempt = 1; ; attempt++) {
    signal.throwIfAborted();
    try {
      return await unlessAborted(options.call(action, params, { timeout }), signal, isLasting);
    } catch (error) {
      const retryable = (error as { retryable?: unknown }).retryable === true;
      if (!retryable || attempt >= CALL_ATTEMPTS) throw error;
      await wait(CALL_RETRY_MS * attempt, undefined, { signal });
    }
  }
}

/** Aborted, and not because the node stops: then another attempt goes on. */
function isCancelled({ aborted, reason }: AbortSignal): boolean {
  return aborted && !(reason instanceof DrainingError);
}

/** @throws the signal's reason as soon as it is aborted; when the job is cancelled only if the answer is not `lasting` */
function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal, lasting: boolean): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      if (!lasting || !isCancelled(signal)) reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** How an ended job records what went wrong. */
export function jobError(error: unknown): NonNullable<Job["error"]> {
  const data = (error as { data?: unknown }).data;
  return { type: errorType(error), message: errorMessage(error), ...(data === undefined ? {} : { data }) };
}
