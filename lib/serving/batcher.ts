/**
 * One model version's queue in front of the worker pool: merges requests into batches and gives every caller its
 * own rows, its own error and its own deadline.
 *
 * A batch runs when it is full, or when waiting for more rows no longer pays; see batch-timing.ts.
 *
 * Requests for more rows than a batch takes go through in parts, one after another, so that no caller holds a
 * worker for long. A request whose deadline passed, or whose caller left, before its batch began is never run.
 */

import {
  CancelledError,
  DeadlineExceededError,
  DrainingError,
  errorType,
  QueueFullError,
} from "../errors.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { RunTimes } from "../protocol/statistics.ts";
import type { Capacity, InstanceName, LoadedModel } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Admission, type AdmissionPolicy } from "./admission.ts";
import { assemble, join, sliceRows, split } from "./batch-assembly.ts";
import type { BatchQueue, WaitingGroup } from "./batch-queue.ts";
import { BatchRequest } from "./batch-request.ts";
import { BatchTiming } from "./batch-timing.ts";
import type { Clock, Timer } from "./clock.ts";
import { Deadlines } from "./deadlines.ts";
import type { VersionStatistics } from "./statistics.ts";

/** What the batcher needs of the worker pool. */
export interface BatchRunner {
  capacity(name: InstanceName): Capacity;
  /** Expected time until the worker that would run the model is free; 0 when it is. */
  freeInMs(name: InstanceName): number;
  /** Workers that would begin a run of the model at once. */
  idleWorkers(name: InstanceName): number;
  onRoom(listener: () => void): void;
  run(
    name: InstanceName,
    feeds: () => Tensor[],
    outputs?: readonly string[],
    onTimes?: (times: RunTimes) => void,
    /** How long it is likely to take. @default 0 */
    expectedMs?: number,
  ): Promise<Tensor[]>;
}

export type BatchPolicy = AdmissionPolicy & {
  /** Most rows in one batch. */
  maxBatchRows: number;
  /** Longest wait for a batch to fill while a worker is idle. */
  queueDelayMs: number;
  /** Priorities 1 to this are told apart; what asks for a later one is served with the last. @default 16 */
  priorityLevels?: number | undefined;
  /** Of requests that ask for none. @default the middle level, so that there are some before and some after it */
  defaultPriority?: number | undefined;
};

export type SubmitOptions = {
  /** 1 is served first. @default 0: the policy's default */
  priority?: number | undefined;
  /** Counted from now. @default none */
  deadlineMs?: number | undefined;
  signal?: AbortSignal | undefined;
};

export type BatcherOptions = {
  name: InstanceName;
  model: LoadedModel;
  runner: BatchRunner;
  policy: BatchPolicy;
  clock: Clock;
  metrics: MetricSink;
  /** @default none are kept */
  statistics?: VersionStatistics;
};

export class Batcher {
  readonly #name: InstanceName;
  readonly #runner: BatchRunner;
  #policy: BatchPolicy;
  readonly #clock: Clock;
  readonly #metrics: MetricSink;
  readonly #labels: { model: string };
  readonly #statistics: VersionStatistics | undefined;
  readonly #admission: Admission<BatchRequest>;
  readonly #queue: BatchQueue<BatchRequest>;
  readonly #deadlines: Deadlines;
  readonly #timing = new BatchTiming();
  /** Only a free dimension beyond the first can make two valid requests differ in shape. */
  readonly #shapesVary: boolean;
  readonly #mergeable: boolean;
  #running = 0;
  /** Requests that go through in parts. */
  #inParts = 0;
  #pumpQueued = false;
  /** When the next of the groups that wait is due; Infinity: not before something else happens. */
  #dueAt = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;
  #unmergedKeys = 0;
  #draining: PromiseWithResolvers<void> | undefined;
  #gaveUp = false;

  constructor({ name, model, runner, policy, clock, metrics, statistics }: BatcherOptions) {
    this.#statistics = statistics;
    this.#name = name;
    this.#runner = runner;
    this.#policy = policy;
    this.#admission = new Admission(policy, () => this.#pumpSoon());
    this.#queue = this.#admission.queue;
    this.#clock = clock;
    this.#metrics = metrics;
    this.#labels = { model: name.model };
    this.#deadlines = new Deadlines(clock);
    this.#mergeable = model.batchable;
    this.#shapesVary = model.signature.inputs.some(({ shape }) => shape.slice(1).includes(-1));
  }

  /** Holds for what comes from now on; what waits keeps the place it has. */
  set policy(policy: BatchPolicy) {
    this.#policy = policy;
    this.#admission.policy = policy;
    if (this.#queue.size > 0) this.#pumpSoon();
  }

  /** Requests waiting for a batch, those outside a full queue among them. */
  get queued(): number {
    return this.#admission.size;
  }

  /**
   * Runs the model on `inputs`, alone or with others. The arrays stay the caller's and must not change until the
   * answer; the answer's arrays may be views into a buffer shared with other callers: read only.
   * @param inputs valid for the model and in its order
   * @param outputs names in the wanted order; undefined: all
   * @throws {QueueFullError} {DeadlineExceededError} {CancelledError} {DrainingError} {ExecutionError}
   * {WorkerCrashedError}
   */
  submit(
    inputs: readonly Tensor[],
    outputs: readonly string[] | undefined,
    { deadlineMs = Number.POSITIVE_INFINITY, signal, priority = 0 }: SubmitOptions = {},
  ): Promise<Tensor[]> {
    const rows = this.#mergeable ? (inputs[0]?.shape[0] ?? 1) : 1;
    const expiresAt = this.#clock.now() + deadlineMs;
    const terms = { level: this.#levelOf(priority), timeoutMs: deadlineMs, expiresAt, signal };
    if (rows <= this.#policy.maxBatchRows) return this.#enqueue(inputs, rows, outputs, terms);
    return this.#submitInParts(inputs, rows, outputs, terms);
  }

  /** Takes no new requests, finishes those it has; what is left after `timeoutMs` is answered DRAINING. */
  async drain(timeoutMs: number): Promise<void> {
    if (!this.#draining) {
      this.#draining = Promise.withResolvers();
      this.#settleDrain();
    }
    const giveUp = this.#clock.after(timeoutMs, () => {
      this.#gaveUp = true;
      for (const request of this.#admission.takeAll()) request.fail(this.#drainingError());
      this.#draining?.resolve();
    });
    await this.#draining.promise;
    giveUp.cancel();
    this.#timer?.cancel();
    this.#deadlines.close();
  }

  #enqueue(
    inputs: readonly Tensor[],
    rows: number,
    outputs: readonly string[] | undefined,
    { level, timeoutMs, expiresAt, signal }: Terms,
    accepted = false,
  ): Promise<Tensor[]> {
    if (this.#draining && (this.#gaveUp || !accepted)) return Promise.reject(this.#drainingError());
    if (signal?.aborted) return Promise.reject(new CancelledError(this.#title()));
    const now = this.#clock.now();
    if (expiresAt <= now) return Promise.reject(new DeadlineExceededError(this.#title(), timeoutMs));
    if (this.#admission.isClosed) {
      const retryAfterSeconds = this.#admission.retryAfterSeconds(now);
      return Promise.reject(new QueueFullError(this.#name.model, this.#policy.maxQueue, retryAfterSeconds));
    }

    return new Promise((resolve, reject) => {
      const mergeKey = this.#mergeKey(inputs, outputs);
      const request = new BatchRequest({ inputs, rows, outputs, mergeKey, level, queuedAt: now }, expiresAt, {
        resolve,
        reject,
        left: () => {
          this.#admission.leave(request);
          this.#deadlines.delete(request);
          this.#settleDrain();
        },
        late: () => new DeadlineExceededError(this.#title(), timeoutMs),
      });
      if (signal) request.abortOn(signal, () => new CancelledError(this.#title()));
      this.#timing.arrivals.passed(rows, now);
      this.#deadlines.add(request);
      this.#admission.enter(request);
      this.#pumpSoon();
    });
  }

  async #submitInParts(
    inputs: readonly Tensor[],
    rows: number,
    outputs: readonly string[] | undefined,
    terms: Terms,
  ): Promise<Tensor[]> {
    const parts: Tensor[][] = [];
    this.#inParts++;
    try {
      for (let from = 0, to: number; from < rows; from = to) {
        to = Math.min(rows, from + this.#policy.maxBatchRows);
        const part = sliceRows(inputs, from, to);
        parts.push(await this.#enqueue(part, to - from, outputs, terms, from > 0));
      }
    } finally {
      this.#inParts--;
      this.#settleDrain();
    }
    return join(parts);
  }

  /** Once per turn of the event loop: everything that arrived in it is in the queue by then. */
  #pumpSoon(): void {
    if (this.#pumpQueued) return;
    this.#pumpQueued = true;
    this.#clock.soon(() => {
      this.#pumpQueued = false;
      this.#pump();
    });
  }

  readonly #pump = (): void => {
    const now = this.#clock.now();
    for (let batch = this.#next(now); batch; batch = this.#next(now)) {
      // Their timer has not fired yet: the loop was busy.
      const late = batch.filter(({ expiresAt }) => expiresAt <= now);
      for (const request of late) request.expire();
      const live = late.length === 0 ? batch : batch.filter(({ settled }) => !settled);
      if (live.length > 0) void this.#execute(live);
    }
    if (this.#queue.size === 0) return;
    this.#runner.onRoom(this.#pump);
    this.#wakeForNext(now);
  };

  /** The batch to run now: of the groups that are due, that of the lowest level; among equals the longest waiting. */
  #next(now: number): BatchRequest[] | undefined {
    this.#dueAt = Number.POSITIVE_INFINITY;
    if (this.#queue.size === 0) return undefined;
    const capacity = this.#runner.capacity(this.#name);
    if (capacity === "none") return undefined;
    const freeInMs = capacity === "idle" ? 0 : this.#runner.freeInMs(this.#name);
    const maxRows = this.#maxRows;
    let chosen: WaitingGroup | undefined;
    for (const group of this.#queue.waiting()) {
      const isFull = group.rows >= maxRows || !this.#mergeable;
      const dueAt = isFull ? now : this.#timing.dueAt(group, now, freeInMs, this.#policy.queueDelayMs);
      if (dueAt > now) this.#dueAt = Math.min(this.#dueAt, dueAt);
      else if (!chosen || isBefore(group, chosen)) chosen = group;
    }
    if (!chosen) return undefined;
    const rows = this.#timing.rowsToTake(chosen.rows, maxRows, this.#runner.idleWorkers(this.#name));
    const taken = this.#queue.take(chosen.mergeKey, rows);
    this.#admission.letIn();
    return taken;
  }

  /** Of a batch: what the policy allows, or what pays. */
  get #maxRows(): number {
    return this.#timing.cost.bestRows(this.#policy.maxBatchRows);
  }

  /** For the group that is due next; that one lacks room is told by `onRoom`. */
  #wakeForNext(now: number): void {
    this.#timer?.cancel();
    const delayMs = this.#dueAt - now;
    this.#timer = Number.isFinite(delayMs) ? this.#clock.after(delayMs, this.#pump) : undefined;
  }

  async #execute(batch: BatchRequest[]): Promise<void> {
    this.#running++;
    try {
      const answers = await this.#run(batch);
      for (const [i, request] of batch.entries()) request.succeed(answers[i]!);
    } catch (error) {
      if (batch.length > 1 && errorType(error) !== "DEADLINE_EXCEEDED") await this.#executeOneByOne(batch);
      else for (const request of batch) request.fail(error as Error);
    } finally {
      this.#running--;
      this.#settleDrain();
      if (this.#queue.size > 0) this.#pumpSoon();
    }
  }

  async #run(batch: readonly BatchRequest[]): Promise<Tensor[][]> {
    let rows = 0;
    for (const request of batch) rows += request.rows;
    const startedAt = this.#clock.now();
    const outputs = await this.#runner.run(
      this.#name,
      () => assemble(batch),
      batch[0]!.outputs,
      (times) => {
        this.#timing.cost.ran(rows, times.inputMs + times.inferMs + times.outputMs);
        this.#statistics?.ran(
          rows,
          batch.map(({ queuedAt }) => startedAt - queuedAt),
          times,
        );
      },
      this.#timing.cost.of(rows),
    );
    this.#admission.answered(rows, this.#clock.now());
    this.#metrics.observe("moiety.inference.batch.rows", rows, this.#labels);
    return batch.length === 1 ? [outputs] : split(outputs, batch);
  }

  /** After a merged batch failed: whoever poisoned it fails alone. */
  async #executeOneByOne(batch: readonly BatchRequest[]): Promise<void> {
    for (const request of batch) {
      if (request.settled) continue;
      try {
        request.succeed((await this.#run([request]))[0]!);
      } catch (error) {
        request.fail(error as Error);
      }
    }
  }

  #mergeKey(inputs: readonly Tensor[], outputs: readonly string[] | undefined): string {
    if (!this.#mergeable) return String(this.#unmergedKeys++);
    if (!this.#shapesVary && !outputs) return "";
    const shapes = this.#shapesVary ? inputs.map(({ shape }) => shape.slice(1)) : [];
    return JSON.stringify([shapes, outputs]);
  }

  #levelOf(priority: number): number {
    const { priorityLevels = 16, defaultPriority = Math.ceil(priorityLevels / 2) } = this.#policy;
    return Math.min(priority || defaultPriority, priorityLevels);
  }

  #settleDrain(): void {
    if (this.#draining && this.queued + this.#running + this.#inParts === 0) this.#draining.resolve();
  }

  #drainingError(): DrainingError {
    return new DrainingError(this.#title());
  }

  #title(): string {
    return `Model '${this.#name.model}' version '${this.#name.version}'`;
  }
}

function isBefore(a: WaitingGroup, b: WaitingGroup): boolean {
  return a.level === b.level ? a.queuedAt < b.queuedAt : a.level < b.level;
}

/** On what terms a request waits. */
type Terms = { level: number; timeoutMs: number; expiresAt: number; signal: AbortSignal | undefined };
