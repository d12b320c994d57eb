/**
 * Stores a run while it trains, in the run's own thread: every so often, and when the thread is asked to stop in
 * order. Storing takes at most a fiftieth of the training time, however large the state and slow the store.
 */

import { CancelledError, errorMessage, errorType } from "../errors.ts";
import type { JobCheckpoint } from "../protocol/jobs.ts";
import type { JobCheckpoints } from "../store/job-checkpoints.ts";
import { type RunIdentity, readRunCheckpoint, writeRunCheckpoint } from "./run-checkpoint.ts";
import type { TrainingRun } from "./training-run.ts";

export type CheckpointerOptions = {
  run: TrainingRun;
  identity: RunIdentity;
  checkpoints: JobCheckpoints;
  everySeconds: number;
  /** Whether the run is to be stored and left to another attempt. */
  suspended: () => boolean;
  stored: (checkpoint: JobCheckpoint) => void;
  /** Told of what was expected to be there but is of no use. */
  warn: (message: string) => void;
};

/** Thrown through a run that has been stored and stops here. */
export class SuspendedRun extends CancelledError {
  constructor() {
    super("The training run");
  }
}

/** The share of the time that storing may take. */
const SHARE = 1 / 50;

export class Checkpointer {
  private readonly options: CheckpointerOptions;
  /** What the run would lose is counted from here. */
  private storedAt = performance.now();
  private readonly begunAt = performance.now();
  /** What storing has taken so far, and what it took the last time. */
  private storingMs = 0;
  private lastMs = 0;

  constructor(options: CheckpointerOptions) {
    this.options = options;
  }

  /**
   * Sets the run to the newest of `references` that can be read, is whole and is of this job and data; gives that
   * one, or undefined when the run starts from the beginning. @throws {StoreUnavailableError}
   */
  async resume(references: readonly JobCheckpoint[]): Promise<JobCheckpoint | undefined> {
    const { run, checkpoints, identity, warn } = this.options;
    for (const reference of references) {
      try {
        const read = readRunCheckpoint(await checkpoints.get(reference.digest));
        const { jobId, datasetDigest } = read.identity;
        if (jobId !== identity.jobId) warn(`Checkpoint ${reference.digest} is of job ${jobId}: not used`);
        else if (datasetDigest !== identity.datasetDigest)
          warn(`Checkpoint ${reference.digest} is of other data (${datasetDigest}): not used`);
        else {
          run.restore(read.snapshot);
          this.storedAt = performance.now();
          return reference;
        }
      } catch (error) {
        if (errorType(error) === "STORE_UNAVAILABLE") throw error;
        warn(`Checkpoint ${reference.digest} cannot be used: ${errorMessage(error)}`);
      }
    }
    return undefined;
  }

  /** For `RunListener.atRest`. The promise rejects with `SuspendedRun` once a run that is to stop has been stored. */
  atRest(): Promise<void> | undefined {
    if (this.options.suspended()) return this.suspend();
    const { run, everySeconds } = this.options;
    const now = performance.now();
    // Where an epoch ends there is nothing to do twice, so that one comes a little early.
    const due = now - this.storedAt >= everySeconds * (run.betweenEpochs ? 500 : 1000);
    const affordable = this.storingMs + this.lastMs <= (now - this.begunAt) * SHARE;
    return due && affordable ? this.store() : undefined;
  }

  private async suspend(): Promise<never> {
    await this.store();
    throw new SuspendedRun();
  }

  private async store(): Promise<void> {
    const { run, identity, checkpoints, stored, warn } = this.options;
    const begun = performance.now();
    const snapshot = run.snapshot();
    try {
      const reference = await checkpoints.put(identity.jobId, writeRunCheckpoint(identity, snapshot));
      stored({ ...reference, epoch: snapshot.cursor.epoch, step: snapshot.state.step });
    } catch (error) {
      // A store that is away for a moment costs a checkpoint, not the run.
      if (errorType(error) !== "STORE_UNAVAILABLE") throw error;
      warn(`Cannot store a checkpoint: ${errorMessage(error)}`);
    }
    this.storedAt = performance.now();
    this.lastMs = this.storedAt - begun;
    this.storingMs += this.lastMs;
  }
}
