/** How a job changes hands: pure functions from one record to the next, without clock or store. */

import type { Job, JobCheckpoint } from "../protocol/jobs.ts";

/** A job whose owner died this often without any progress is itself the likely cause. */
export const MAX_ATTEMPTS = 3;
/** The newest checkpoint, and the one before it should the newest be unreadable. */
const KEPT_CHECKPOINTS = 2;

export function ended(job: Job): boolean {
  return job.state === "succeeded" || job.state === "failed" || job.state === "cancelled";
}

export function leaseExpired(job: Job, nowMs: number): boolean {
  return (job.leaseExpiresAt ?? 0) <= nowMs;
}

/** Attempts since the job last came further, the one under way included. */
export function fruitlessAttempts(job: Job): number {
  return job.fruitlessAttempts ?? job.attempts;
}

/** The record of a job that has just ended. Its last owner stays on record. */
export function finished(job: Job, nowMs: number): Job {
  const { leaseExpiresAt: _expiry, checkpoints: _checkpoints, fruitlessAttempts: _count, ...rest } = job;
  return { ...rest, finishedAt: new Date(nowMs).toISOString() };
}

/** The record once `owner` has claimed the job; undefined when it is not to be had. */
export function takenOver(job: Job, owner: string, nowMs: number, leaseMs: number): Job | undefined {
  if (ended(job) || (job.state === "running" && !leaseExpired(job, nowMs))) return undefined;
  if (job.cancelRequested) return finished({ ...job, state: "cancelled" }, nowMs);
  if (fruitlessAttempts(job) >= MAX_ATTEMPTS)
    return finished(
      {
        ...job,
        state: "failed",
        error: {
          type: "WORKER_CRASHED",
          message:
            `Given up after ${fruitlessAttempts(job)} attempts that came no further (${job.attempts} in all): ` +
            `each time its trainer stopped or lost its lease, last '${job.owner}'`,
          data: { attempts: job.attempts, owner: job.owner },
        },
      },
      nowMs,
    );
  return {
    ...job,
    state: "running",
    owner,
    leaseExpiresAt: nowMs + leaseMs,
    attempts: job.attempts + 1,
    fruitlessAttempts: fruitlessAttempts(job) + 1,
    startedAt: job.startedAt ?? new Date(nowMs).toISOString(),
  };
}

/** The record of a job whose training was stored once more. An attempt that came further counts as the first. */
export function checkpointed(job: Job, checkpoint: JobCheckpoint): Job {
  const older = (job.checkpoints ?? []).filter(({ digest }) => digest !== checkpoint.digest);
  const further = checkpoint.step > (older[0]?.step ?? 0);
  return {
    ...job,
    checkpoints: [checkpoint, ...older].slice(0, KEPT_CHECKPOINTS),
    ...(further ? { fruitlessAttempts: 1 } : {}),
  };
}

/** The record of a job that need not be trained any more. */
export function trained(job: Job, result: NonNullable<Job["trained"]>): Job {
  const { checkpoints: _checkpoints, ...rest } = job;
  return { ...rest, trained: result, fruitlessAttempts: 1 };
}
