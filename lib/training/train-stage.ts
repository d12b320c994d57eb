/**
 * The first stage of a job: trains in a thread of its own, from the newest checkpoint that can be used. Asked to stop
 * in order (the signal's reason is a `DrainingError`), the thread stores the run before it ends.
 */

import { CancelledError, DrainingError } from "../errors.ts";
import type { Call } from "../protocol/actions.ts";
import type { Emit } from "../protocol/events.ts";
import type { Job } from "../protocol/jobs.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import { runTask } from "../runtime/task.ts";
import type { JobCheckpoints } from "../store/job-checkpoints.ts";
import type { JobStore } from "../store/job-store.ts";
import type { StoreLocation } from "../store/store.ts";
import { EpochEvents } from "./epoch-events.ts";
import type { ProviderName } from "./execution-provider.ts";
import { TrainingRecord } from "./training-record.ts";
import type { TrainingNote, TrainingResult, TrainingTask } from "./training-task.ts";
import { artifactOf } from "./weight-source.ts";

export type TrainStageOptions = {
  call: Call;
  jobs: JobStore;
  checkpoints: JobCheckpoints;
  emit: Emit;
  /** This node's name, holder of the leases. */
  owner: string;
  store: StoreLocation;
  datasetsDirectory: string | undefined;
  datasetsMemoryBytes: number;
  threads: number;
  /** Where ONNX Runtime is to train. @default "cpu" */
  executionProvider?: ProviderName;
  metrics: MetricSink;
  log: { info(message: string): void; warn(message: string): void };
};

const TASK = new URL("./training-task.ts", import.meta.url);
/** How long a run may take to be stored when its node stops. */
const SUSPEND_LIMIT_MS = 10_000;

/** @throws {DrainingError} once a run that was to stop in order is stored; {CancelledError}; what training throws */
export async function trainStage(
  job: Job,
  options: TrainStageOptions,
  signal: AbortSignal,
): Promise<NonNullable<Job["trained"]>> {
  const { checkpoints, emit, metrics, log } = options;
  const { id, spec } = job;
  // What an earlier attempt stored but nobody referred to.
  await checkpoints.keepOnly(id, job.checkpoints?.map(({ digest }) => digest) ?? []);
  // Before anything is begun that has to be ended: the registry may refuse.
  const artifact = spec.initialWeights && (await artifactOf(spec.initialWeights, options.call));
  const ended = new AbortController();
  const record = new TrainingRecord({ ...options, id, onLost: () => ended.abort() });
  const epochs = new EpochEvents((epoch) => emit("training.epochCompleted", { id, epoch }));
  const suspension = new Suspension(signal, () => ended.abort());
  const task: TrainingTask = {
    job: { id, attempt: job.attempts, checkpoints: job.checkpoints ?? [] },
    spec,
    initialWeights: spec.initialWeights && {
      spec: spec.initialWeights,
      architecture: spec.architecture,
      artifact,
      digest: job.initialWeights?.digest,
    },
    store: options.store,
    datasetsDirectory: options.datasetsDirectory,
    datasetsMemoryBytes: options.datasetsMemoryBytes,
    threads: options.threads,
    executionProvider: options.executionProvider ?? "cpu",
    suspendFlag: suspension.flag,
  };
  try {
    const result = await runTask<TrainingTask, TrainingResult | undefined, TrainingNote>(TASK, task, {
      name: `training job ${id}`,
      signal: ended.signal,
      onNote(note) {
        switch (note.kind) {
          case "began":
            record.resumed(note.history);
            if (note.step > 0) log.info(`Job ${id} goes on after step ${note.step}, in epoch ${note.epoch}`);
            return;
          case "backend":
            record.runsOn(note.backend);
            log.info(`Job ${id} trains with ${note.engine} on ${note.backend}`);
            return;
          case "initialised": {
            const { taken, fresh, format, digest } = note.record;
            record.initialised(note.record);
            log.info(
              `Job ${id} starts from the ${format} file ${digest}: ${taken.length} layers taken (${taken.join(", ")}), ${fresh.length} fresh (${fresh.join(", ")})`,
            );
            return;
          }
          case "epoch":
            record.epoch(note.epoch);
            epochs.completed(note.epoch);
            metrics.increment("moiety.training.examples", {}, note.examples);
            return;
          case "progress":
            record.progress(note.progress);
            emit("training.progressed", { id, progress: note.progress });
            return;
          case "checkpoint":
            return record.checkpoint(note.checkpoint);
          case "warning":
            return log.warn(`Job ${id}: ${note.message}`);
          default:
            note satisfies never;
        }
      },
    });
    if (!result) {
      await record.settled();
      throw new DrainingError("trainer");
    }
    const { checkpoint, dataset, trainSeconds, backend, initialWeights } = result;
    const trained = { checkpoint, dataset, trainSeconds, backend, ...(initialWeights && { initialWeights }) };
    await record.trained(trained, result.history);
    await checkpoints.keepOnly(id, []);
    return trained;
  } finally {
    suspension.close();
    epochs.close();
    await record.settled();
  }
}

/** Turns an abort into a flag that the thread reads between steps, and into the thread's end when it must not wait. */
class Suspension {
  /** One element; 1 once the run is to be stored and stopped. */
  readonly flag = new Int32Array(new SharedArrayBuffer(4));
  private readonly signal: AbortSignal;
  private readonly end: () => void;
  private readonly onAbort = () => this.aborted();
  private limit: NodeJS.Timeout | undefined;

  constructor(signal: AbortSignal, end: () => void) {
    if (signal.aborted) throw new CancelledError("The training run");
    this.signal = signal;
    this.end = end;
    signal.addEventListener("abort", this.onAbort, { once: true });
  }

  close(): void {
    clearTimeout(this.limit);
    this.signal.removeEventListener("abort", this.onAbort);
  }

  private aborted(): void {
    const inOrder = this.signal.reason instanceof DrainingError;
    if (inOrder) Atomics.store(this.flag, 0, 1);
    this.limit = setTimeout(this.end, inOrder ? SUSPEND_LIMIT_MS : 0);
  }
}
