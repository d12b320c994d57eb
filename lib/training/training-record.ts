/**
 * Keeps the record of a job current while it trains: progress, history and checkpoints, one write at a time, fenced
 * by the lease. A lease that is lost, or a wish to cancel that is found in the record, is reported once.
 */

import { errorMessage, errorType } from "../errors.ts";
import type { EpochRecord, Job, JobCheckpoint, TrainingProgress } from "../protocol/jobs.ts";
import type { InitialWeightsRecord } from "../protocol/weights.ts";
import type { JobCheckpoints } from "../store/job-checkpoints.ts";
import type { JobStore } from "../store/job-store.ts";
import { checkpointed, trained } from "../store/job-transitions.ts";

export type RecordOptions = {
  id: string;
  owner: string;
  jobs: JobStore;
  checkpoints: JobCheckpoints;
  log: { warn(message: string): void };
  /** The job is no longer this owner's to train. */
  onLost: () => void;
};

const RECORD_INTERVAL_MS = 1000;
/** Records are small; the checkpoint has the whole history. */
const MAX_HISTORY = 1000;
const MAX_HISTORY_BYTES = 256 * 1024;

export class TrainingRecord {
  private readonly options: RecordOptions;
  private history: EpochRecord[] = [];
  private latest: TrainingProgress | undefined;
  private recordedAt = 0;
  private recording = false;
  /** Writes in their order. Few wait: what asks for one is rare beside the time that one takes. */
  private writes: Promise<void> = Promise.resolve();

  constructor(options: RecordOptions) {
    this.options = options;
  }

  /** The run goes on from a checkpoint, or begins: what the record says of later epochs is to be trained again. */
  resumed(history: readonly EpochRecord[]): void {
    this.history = history.slice(-MAX_HISTORY);
  }

  /** What the engine computes on. */
  runsOn(backend: string): void {
    const { id, owner, jobs } = this.options;
    this.write(() => jobs.update(id, owner, (job) => ({ ...job, backend })));
  }

  /** What the training starts from. */
  initialised(initialWeights: InitialWeightsRecord): void {
    const { id, owner, jobs } = this.options;
    this.write(() => jobs.update(id, owner, (job) => ({ ...job, initialWeights })));
  }

  epoch(epoch: EpochRecord): void {
    this.history = [...this.history, epoch].slice(-MAX_HISTORY);
    this.recordSoon();
  }

  progress(progress: TrainingProgress): void {
    this.latest = progress;
    this.recordSoon();
  }

  /** Refers to a checkpoint that is stored, and removes those that no attempt needs any more. */
  checkpoint(checkpoint: JobCheckpoint): void {
    const { id, owner, jobs, checkpoints } = this.options;
    this.write(async () => {
      let before: JobCheckpoint[] = [];
      try {
        const job = await jobs.update(id, owner, (current) => {
          before = current.checkpoints ?? [];
          return checkpointed({ ...current, history: recent(this.history) }, checkpoint);
        });
        const kept = new Set(job.checkpoints?.map(({ digest }) => digest));
        await checkpoints.remove(
          id,
          before.flatMap(({ digest }) => (kept.has(digest) ? [] : [digest])),
        );
        return job;
      } catch (error) {
        // Nobody will ever hear of this one; what cannot be removed now is found by the next to claim the job.
        if (errorType(error) === "JOB_STATE")
          await checkpoints.remove(id, [checkpoint.digest]).catch(() => {});
        throw error;
      }
    });
  }

  /** Once everything before it is written: the job is trained. @throws {JobStateError} {StoreUnavailableError} */
  async trained(result: NonNullable<Job["trained"]>, history: readonly EpochRecord[]): Promise<void> {
    const { id, owner, jobs } = this.options;
    await this.writes;
    await jobs.update(id, owner, (job) => trained({ ...job, history: recent(history) }, result));
  }

  /** Resolves once everything that was told is written, or could not be. */
  settled(): Promise<void> {
    return this.writes;
  }

  /** However fast the notes come and however slow the store is, one write at a time and one a second. */
  private recordSoon(): void {
    const now = performance.now();
    if (this.recording || now - this.recordedAt < RECORD_INTERVAL_MS) return;
    this.recordedAt = now;
    this.recording = true;
    const { id, owner, jobs } = this.options;
    this.write(async () => {
      this.recording = false;
      const { latest } = this;
      const history = recent(this.history);
      return jobs.update(id, owner, (job) => ({ ...job, history, ...(latest && { progress: latest }) }));
    });
  }

  private write(change: () => Promise<Job>): void {
    const { id, log, onLost } = this.options;
    this.writes = this.writes.then(change).then(
      (job) => {
        if (job.cancelRequested) onLost();
      },
      (error: unknown) => {
        if (errorType(error) === "JOB_STATE") onLost();
        else log.warn(`Cannot record the progress of job ${id}: ${errorMessage(error)}`);
      },
    );
  }
}

/** The last epochs, as many as the record has room for: those of many outputs say much. */
function recent(history: readonly EpochRecord[]): EpochRecord[] {
  let from = history.length;
  for (let bytes = 0; from > Math.max(0, history.length - MAX_HISTORY); from--) {
    bytes += Buffer.byteLength(JSON.stringify(history[from - 1])) + 1;
    if (bytes > MAX_HISTORY_BYTES) break;
  }
  return history.slice(from);
}
