/** How a job changes hands: pure functions from one record to the next, without clock or store. */

import type { Job } from "../protocol/jobs.ts";

/** A job whose owner died this often is itself the likely cause. */
export const MAX_ATTEMPTS = 3;

export function ended(job: Job): boolean {
  return job.state === "succeeded" || job.state === "failed" || job.state === "cancelled";
}

export function leaseExpired(job: Job, nowMs: number): boolean {
  return (job.leaseExpiresAt ?? 0) <= nowMs;
}

/** The record of a job that has just ended. Its last owner stays on record. */
export function finished(job: Job, nowMs: number): Job {
  const { leaseExpiresAt: _expiry, ...rest } = job;
  return { ...rest, finishedAt: new Date(nowMs).toISOString() };
}

/** The record once `owner` has claimed the job; undefined when it is not to be had. */
export function takenOver(job: Job, owner: string, nowMs: number, leaseMs: number): Job | undefined {
  if (ended(job) || (job.state === "running" && !leaseExpired(job, nowMs))) return undefined;
  if (job.cancelRequested) return finished({ ...job, state: "cancelled" }, nowMs);
  if (job.attempts >= MAX_ATTEMPTS)
    return finished(
      {
        ...job,
        state: "failed",
        error: {
          type: "WORKER_CRASHED",
          message: `Given up after ${job.attempts} attempts: each time its trainer stopped or lost its lease, last '${job.owner}'`,
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
    startedAt: job.startedAt ?? new Date(nowMs).toISOString(),
  };
}
