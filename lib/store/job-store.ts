/**
 * Durable training jobs over records with compare-and-set: `jobs/<id>`, one record each.
 *
 * A job runs under a lease: its owner renews it, and when the owner dies the next claimer takes the job over once
 * the lease has run out. Every change is a compare-and-set that checks the owner first, so an owner that lost its
 * lease can write nothing any more. Leases compare clocks of different nodes: the nodes' clocks may differ by much
 * less than `leaseMs`. An owner's name must be new with every start of its process.
 */

import { randomBytes } from "node:crypto";
import {
  JobNotFoundError,
  JobStateError,
  QueueFullError,
  RevisionConflictError,
  StoreUnavailableError,
} from "../errors.ts";
import type { Job, JobState, TrainingSpec } from "../protocol/jobs.ts";
import { ended, finished, fruitlessAttempts, leaseExpired, takenOver } from "./job-transitions.ts";
import type { KeyValueEntry, KeyValueStore } from "./store.ts";

const PREFIX = "jobs/";
/** One job's record is written by its owner and, rarely, a canceller: a hundred lost races are a bug. */
const MAX_ATTEMPTS = 100;
const PARALLEL_READS = 32;
/** A list of jobs is one message between nodes: NATS takes 1 MiB. */
const MAX_LIST_BYTES = 900_000;

export type JobStoreOptions = {
  /** How long a claim lasts unless renewed. */
  leaseMs: number;
  /** Most jobs waiting. Holds within one process; several creating at the same moment may exceed it by one each. */
  maxQueued: number;
  /** Ended jobs that are kept; older ones are removed. @default 1000 */
  maxEnded?: number;
  /** Epoch milliseconds. @default Date.now */
  now?: () => number;
  /** Told of jobs that end because nobody is left to run them: given up, or cancelled after their owner died. */
  onAbandoned?: (job: Job) => void;
};

export type JobEnd = { state: "succeeded" | "failed" | "cancelled" } & Pick<Job, "result" | "error">;

export class JobStore {
  readonly #records: KeyValueStore;
  readonly #options: Required<JobStoreOptions>;
  /** Jobs seen to have ended; they never change again, so claims need not read them. */
  readonly #endedIds = new Set<string>();
  #creating: Promise<unknown> = Promise.resolve();
  #lastId = { ms: 0, sequence: 0 };

  constructor(records: KeyValueStore, options: JobStoreOptions) {
    this.#records = records;
    this.#options = { maxEnded: 1000, now: Date.now, onAbandoned: () => {}, ...options };
  }

  /** Queues a job. @throws {QueueFullError} when `maxQueued` jobs wait already */
  create(spec: TrainingSpec): Promise<Job> {
    const created = this.#creating.then(() => this.#create(spec));
    this.#creating = created.catch(() => {});
    return created;
  }

  /** @throws {JobNotFoundError} */
  async get(id: string): Promise<Job> {
    return (await this.#entry(id)).value;
  }

  /** Newest first, as many as one message holds; without those that cannot be read. @default limit: all */
  async list({
    state,
    limit = Number.POSITIVE_INFINITY,
  }: {
    state?: JobState;
    limit?: number;
  } = {}): Promise<Job[]> {
    const unended = state === "queued" || state === "running";
    const ids = unended ? await this.#unendedIds() : await this.#ids();
    const jobs: Job[] = [];
    let bytes = 0;
    for (let at = ids.length; at > 0 && jobs.length < limit; at -= PARALLEL_READS) {
      const read = await this.#read(ids.slice(Math.max(0, at - PARALLEL_READS), at));
      for (const job of read.reverse()) {
        if (state !== undefined && job.state !== state) continue;
        bytes += Buffer.byteLength(JSON.stringify(job));
        if (bytes > MAX_LIST_BYTES && jobs.length > 0) return jobs;
        jobs.push(job);
        if (jobs.length === limit) return jobs;
      }
    }
    return jobs;
  }

  /**
   * Takes the oldest job that waits or whose lease has run out, and leases it to `owner`; undefined when there is
   * none. A job that outlived three owners without coming further fails
   * instead; one whose cancellation was asked for is cancelled.
   * A record that cannot be read or written holds up no other job.
   * @throws what became of that record, once there is nothing else to claim
   */
  async claim(owner: string): Promise<Job | undefined> {
    const failures: unknown[] = [];
    for (const id of await this.#unendedIds()) {
      try {
        const taken = await this.#take(id, owner);
        if (taken?.state === "running") return taken;
      } catch (error) {
        failures.push(error);
        await this.#assertReachable();
      }
    }
    if (failures.length > 0) throw failures[0];
    return undefined;
  }

  /** Extends the lease. The answer says whether cancellation has been asked for. @throws {JobStateError} */
  renew(id: string, owner: string): Promise<Job> {
    return this.#change(id, (job) => {
      assertOwner(job, owner, "renewed");
      return { ...job, leaseExpiresAt: this.#options.now() + this.#options.leaseMs };
    });
  }

  /**
   * Changes what the owner may change (stage, progress, history …); identity, state and lease stay as they are.
   * `change` may run more than once. @throws {JobStateError} when the lease is no longer the owner's
   */
  update(id: string, owner: string, change: (job: Job) => Job): Promise<Job> {
    return this.#change(id, (job) => {
      assertOwner(job, owner, "updated");
      const { spec, createdAt, state, attempts, cancelRequested, leaseExpiresAt } = job;
      const kept = { id, spec, createdAt, state, owner, attempts, cancelRequested };
      return { ...change(job), ...kept, ...(leaseExpiresAt === undefined ? {} : { leaseExpiresAt }) };
    });
  }

  /**
   * Asks for an end: a waiting job is cancelled at once, a running one when its owner sees the request.
   * @throws {JobStateError} when it has ended
   */
  async requestCancel(id: string): Promise<Job> {
    const job = await this.#change(id, (current) => {
      if (ended(current)) throw new JobStateError(id, current.state, "cancelled");
      const now = this.#options.now();
      const running = current.state === "running" && !leaseExpired(current, now);
      return running
        ? { ...current, cancelRequested: true }
        : finished({ ...current, cancelRequested: true, state: "cancelled" }, now);
    });
    if (ended(job)) await this.#prune();
    return job;
  }

  /**
   * Ends a running job. Ending it twice the same way by the same owner is no error: the first answer may have been
   * lost. @throws {JobStateError} when the lease is no longer the owner's
   */
  async end(id: string, owner: string, { state, result, error }: JobEnd): Promise<Job> {
    const job = await this.#change(id, (current) => {
      if (current.state === state && current.owner === owner) return current;
      assertOwner(current, owner, state);
      return finished(
        {
          ...current,
          state,
          stage: state === "succeeded" ? "done" : current.stage,
          ...(result === undefined ? {} : { result }),
          ...(error === undefined ? {} : { error }),
        },
        this.#options.now(),
      );
    });
    await this.#prune();
    return job;
  }

  /** Puts a running job back into the queue, as if it had not been claimed. @throws {JobStateError} */
  release(id: string, owner: string): Promise<Job> {
    return this.#change(id, (job) => {
      assertOwner(job, owner, "released");
      if (job.cancelRequested) return finished({ ...job, state: "cancelled" }, this.#options.now());
      const { owner: _owner, leaseExpiresAt: _expiry, ...rest } = job;
      return {
        ...rest,
        state: "queued",
        attempts: job.attempts - 1,
        fruitlessAttempts: fruitlessAttempts(job) - 1,
      };
    });
  }

  async #create(spec: TrainingSpec): Promise<Job> {
    const { maxQueued, now } = this.#options;
    const unended = await this.#read(await this.#unendedIds());
    if (unended.filter((job) => job.state === "queued").length >= maxQueued)
      throw new QueueFullError("training jobs", maxQueued);
    const job: Job = {
      id: this.#nextId(),
      state: "queued",
      stage: "waiting",
      spec,
      createdAt: new Date(now()).toISOString(),
      attempts: 0,
      cancelRequested: false,
      history: [],
    };
    await this.#records.create(PREFIX + job.id, job);
    return job;
  }

  /** The job as it is taken over; undefined when it is not to be had, or somebody else was first. */
  async #take(id: string, owner: string): Promise<Job | undefined> {
    const entry = await this.#load(id);
    if (!entry) return undefined;
    if (ended(entry.value)) this.#endedIds.add(id);
    const next = takenOver(entry.value, owner, this.#options.now(), this.#options.leaseMs);
    if (!next) return undefined;
    try {
      await this.#records.update(entry.key, next, entry.revision);
    } catch (error) {
      if (error instanceof RevisionConflictError) return undefined;
      throw error;
    }
    if (next.state !== "running") {
      this.#options.onAbandoned(next);
      await this.#prune();
    }
    return next;
  }

  /** After a record failed: whether that is all that fails. @throws {StoreUnavailableError} */
  async #assertReachable(): Promise<void> {
    await this.#records.keys(PREFIX);
  }

  /** Applies a change by compare-and-set, again and again until no other writer came between. */
  async #change(id: string, change: (job: Job) => Job): Promise<Job> {
    for (let attempt = 1; ; attempt++) {
      const entry = await this.#entry(id);
      const next = change(entry.value);
      if (next === entry.value) return next;
      try {
        await this.#records.update(entry.key, next, entry.revision);
        return next;
      } catch (error) {
        if (!(error instanceof RevisionConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  async #entry(id: string): Promise<KeyValueEntry<Job>> {
    const entry = /^[a-z0-9]{1,64}$/.test(id) ? await this.#load(id) : undefined;
    if (!entry) throw new JobNotFoundError(id);
    return entry;
  }

  /** @throws {StoreUnavailableError} when the record holds no job */
  async #load(id: string): Promise<KeyValueEntry<Job> | undefined> {
    const entry = await this.#records.get<Job | null>(PREFIX + id);
    if (!entry) return undefined;
    const { value } = entry;
    if (typeof value?.state !== "string") throw new StoreUnavailableError(entry.key, "it holds no job");
    return { ...entry, value };
  }

  /** Oldest first. */
  async #ids(): Promise<string[]> {
    return (await this.#records.keys(PREFIX)).map((key) => key.slice(PREFIX.length));
  }

  async #unendedIds(): Promise<string[]> {
    const ids = await this.#ids();
    const known = new Set(ids);
    for (const id of this.#endedIds) if (!known.has(id)) this.#endedIds.delete(id);
    return ids.filter((id) => !this.#endedIds.has(id));
  }

  /** Without those that cannot be read. @throws {StoreUnavailableError} when the store cannot */
  async #read(ids: string[]): Promise<Job[]> {
    const jobs: Job[] = [];
    for (let at = 0; at < ids.length; at += PARALLEL_READS) {
      const batch = ids.slice(at, at + PARALLEL_READS);
      const read = await Promise.allSettled(batch.map((id) => this.#load(id)));
      if (read.some(({ status }) => status === "rejected")) await this.#assertReachable();
      for (const outcome of read)
        if (outcome.status === "fulfilled" && outcome.value) jobs.push(outcome.value.value);
    }
    for (const job of jobs) if (ended(job)) this.#endedIds.add(job.id);
    return jobs;
  }

  /** Removes the oldest ended jobs. The end that led here is durable already, so a failure waits for the next. */
  async #prune(): Promise<void> {
    try {
      const ids = await this.#ids();
      const surplus = ids.length - this.#options.maxEnded;
      if (surplus <= 0) return;
      await this.#read(await this.#unendedIds());
      const endedIds = ids.filter((id) => this.#endedIds.has(id));
      for (const id of endedIds.slice(0, Math.max(0, endedIds.length - this.#options.maxEnded)))
        await this.#records.delete(PREFIX + id);
    } catch {
      return;
    }
  }

  /** Sorts by time of creation, and within one millisecond of this process by order of creation. */
  #nextId(): string {
    const ms = Math.max(this.#options.now(), this.#lastId.ms);
    this.#lastId = { ms, sequence: ms === this.#lastId.ms ? this.#lastId.sequence + 1 : 0 };
    const digits = (value: number, width: number) => value.toString(36).padStart(width, "0");
    return `${digits(ms, 9)}${digits(this.#lastId.sequence, 3)}${randomBytes(4).toString("hex")}`;
  }
}

function assertOwner(job: Job, owner: string, wanted: string): void {
  if (job.state !== "running") throw new JobStateError(job.id, job.state, wanted);
  if (job.owner !== owner)
    throw new JobStateError(job.id, `leased to '${job.owner}', not '${owner}'`, wanted);
}
