/**
 * Claims queued jobs and runs them, up to `concurrency` at a time, renewing each lease while it works. A job whose
 * node died is claimed again once its lease has run out. Stopping gives running jobs back to the queue.
 */

import { DrainingError, errorMessage, errorType } from "../errors.ts";
import type { Job } from "../protocol/jobs.ts";
import { fruitlessAttempts, ended as hasEnded, MAX_ATTEMPTS } from "../store/job-transitions.ts";
import { jobError, type PipelineOptions, runJob } from "./job-pipeline.ts";

export type RunnerOptions = PipelineOptions & { concurrency: number; leaseMs: number };

/** Events wake the runner at once; the poll finds what no event told of (an expired lease, a lost event). */
const POLL_MS = 1000;
/** What trainers that died left of ended jobs is removed this often. */
const SWEEP_MS = 10 * 60_000;
/** A lease is renewed this many times before it would run out. */
const RENEWALS_PER_LEASE = 3;

type Running = { controller: AbortController; done: Promise<void> };

export class JobRunner {
  private readonly options: RunnerOptions;
  private readonly running = new Map<string, Running>();
  private timer: NodeJS.Timeout | undefined;
  private sweepTimer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> = Promise.resolve();
  private claiming: Promise<void> | undefined;
  /** What was last said of it: the next second most often finds the same. */
  private claimFailure = "";
  private stopping = false;

  constructor(options: RunnerOptions) {
    this.options = options;
  }

  start(): void {
    this.timer = setInterval(() => this.wake(), POLL_MS);
    this.sweep();
    this.sweepTimer = setInterval(() => this.sweep(), SWEEP_MS);
    this.wake();
  }

  /** Looks for work now. */
  wake(): void {
    if (this.stopping || this.claiming) return;
    this.claiming = this.claimAll()
      .then(
        () => {
          this.claimFailure = "";
        },
        (error: unknown) => this.cannotClaim(errorMessage(error)),
      )
      .finally(() => {
        this.claiming = undefined;
      });
  }

  /** Stops a job that runs here; the store already knows that it is to be cancelled. */
  cancel(id: string): void {
    this.running.get(id)?.controller.abort();
  }

  /** Takes no more jobs, stops those running, each stored as far as it has come, and gives them back to the queue. */
  async stop(): Promise<void> {
    this.stopping = true;
    clearInterval(this.timer);
    clearInterval(this.sweepTimer);
    await this.claiming;
    for (const { controller } of this.running.values()) controller.abort(new DrainingError("trainer"));
    await this.sweeping;
    await Promise.all([...this.running.values()].map(({ done }) => done));
  }

  private sweep(): void {
    this.sweeping = this.sweepEnded().catch((error: unknown) => this.leftBehind(error));
  }

  /** Removes checkpoints of jobs that have ended; the others are their claimers' to care for. */
  private async sweepEnded(): Promise<void> {
    const { jobs, checkpoints } = this.options;
    for (const id of await checkpoints.jobIds()) {
      if (this.stopping) return;
      const job = await jobs.get(id).catch((error: unknown) => {
        if (errorType(error) !== "JOB_NOT_FOUND") throw error;
      });
      if (!job || hasEnded(job)) await checkpoints.keepOnly(id, []);
    }
  }

  private leftBehind(error: unknown): void {
    this.options.log.warn(`Cannot remove checkpoints that nobody needs: ${errorMessage(error)}`);
  }

  private cannotClaim(reason: string): void {
    if (reason !== this.claimFailure) this.options.log.warn(`Cannot claim jobs: ${reason}`);
    this.claimFailure = reason;
  }

  private async claimAll(): Promise<void> {
    const { jobs, owner, concurrency } = this.options;
    while (!this.stopping && this.running.size < concurrency) {
      const job = await jobs.claim(owner);
      if (!job) return;
      const controller = new AbortController();
      const done = this.run(job, controller).finally(() => {
        this.running.delete(job.id);
        this.wake();
      });
      this.running.set(job.id, { controller, done });
    }
  }

  private async run(job: Job, controller: AbortController): Promise<void> {
    const { jobs, owner, emit, leaseMs, log, metrics } = this.options;
    const { id } = job;
    emit("training.started", { id, attempt: job.attempts });
    const renewal = setInterval(() => {
      jobs.renew(id, owner).then(
        // A wish to cancel that no event told of.
        ({ cancelRequested }) => cancelRequested && controller.abort(),
        (error: unknown) => {
          log.warn(`Cannot renew the lease of job ${id}: ${errorMessage(error)}`);
          if (errorType(error) === "JOB_STATE") controller.abort();
        },
      );
    }, leaseMs / RENEWALS_PER_LEASE);
    try {
      const ended = await this.outcome(job, controller.signal);
      if (!ended) return;
      metrics.increment("moiety.training.jobs", { outcome: ended.state });
      emit("training.ended", { id, job: ended });
      await this.options.checkpoints.keepOnly(id, []).catch((error: unknown) => this.leftBehind(error));
    } catch (error) {
      // The lease is gone, or the store is: whoever holds the job next finishes it.
      log.warn(`Job ${id} is left to another attempt: ${errorMessage(error)}`);
    } finally {
      clearInterval(renewal);
    }
  }

  /** Runs the stages and records how the job ended; undefined when it was given back to the queue. */
  private async outcome(job: Job, signal: AbortSignal): Promise<Job | undefined> {
    const { jobs, owner, log } = this.options;
    const { id } = job;
    try {
      const result = await runJob(job, this.options, signal);
      return await jobs.end(id, owner, { state: "succeeded", result });
    } catch (error) {
      if (errorType(error) === "JOB_STATE") throw error;
      const current = await jobs.get(id);
      if (current.cancelRequested) return await jobs.end(id, owner, { state: "cancelled" });
      if (this.stopping) {
        await jobs.release(id, owner);
        log.info(`Job ${id} was given back to the queue`);
        return undefined;
      }
      // What was done so far is recorded or can be done again: no store that was away for a moment loses a job.
      if (errorType(error) === "STORE_UNAVAILABLE" && fruitlessAttempts(current) < MAX_ATTEMPTS) throw error;
      log.warn(`Job ${id} failed: ${errorMessage(error)}`);
      return await jobs.end(id, owner, { state: "failed", error: jobError(error) });
    }
  }
}
