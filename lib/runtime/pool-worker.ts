/**
 * One inference worker as the pool sees it, a thread or a process: questions in flight, each with a deadline, and the
 * guarantee that every question is answered: with the reply, with the worker's error, or with WorkerCrashedError when it
 * stops. A worker that misses a deadline is taken for hung and killed.
 */

import { DeadlineExceededError, WorkerCrashedError } from "../errors.ts";
import type { RunTimes } from "../protocol/statistics.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { reviveError } from "./flat-error.ts";
import type {
  FromWorker,
  InstanceOptions,
  LoadedModel,
  ModelSource,
  ToWorker,
} from "./inference-messages.ts";
import type { OpenChannel, WorkerChannel } from "./worker-channel.ts";

type Reply = Exclude<FromWorker, { kind: "started" } | { kind: "failed" }>;
type Pending = {
  readonly seq: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
};
/** A message before it has its number. */
type Question = ToWorker extends infer M ? (M extends ToWorker ? Omit<M, "seq"> : never) : never;

export class PoolWorker {
  readonly name: string;
  /** Resolves when the worker takes messages; rejects when it stops before. */
  readonly started: Promise<void>;
  /** Resolves with the reason once the worker is gone, after everything in flight was answered. */
  readonly stopped: Promise<string>;
  /** Resolves when the worker itself has ended, which may be long after it was given up. */
  readonly exited: Promise<void>;
  /** Model ids this worker can run. */
  readonly models = new Set<string>();
  /** Runs posted and not answered. */
  runsInFlight = 0;
  /** Loads in progress. Loading blocks the worker: no runs should be sent meanwhile. */
  loads = 0;
  alive = true;
  /** Of the runs in flight, which end in their order. */
  readonly #expectedMs: number[] = [];
  #runBeganAt = 0;
  readonly #channel: WorkerChannel;
  /** A handful. No map: see lib/serving/deadlines.ts on collections that come and go with requests. */
  #pending: Pending[] = [];
  readonly #ended = Promise.withResolvers<string>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #exited = Promise.withResolvers<void>();
  #seq = 0;

  constructor(name: string, open: OpenChannel) {
    this.name = name;
    this.started = this.#ready.promise;
    this.started.catch(() => {});
    this.stopped = this.#ended.promise;
    this.exited = this.#exited.promise;
    this.#channel = open(name, {
      message: (message) => this.#receive(message),
      failed: (reason) => this.kill(reason),
      exited: (reason) => {
        this.#end(reason);
        this.#exited.resolve();
      },
    });
  }

  /** Of its own process; undefined for a thread. */
  get pid(): number | undefined {
    return this.#channel.pid;
  }

  async load(
    id: string,
    source: ModelSource,
    options: InstanceOptions,
    timeoutMs: number,
  ): Promise<LoadedModel> {
    this.loads++;
    try {
      const reply = await this.#ask({ kind: "load", id, source, options }, [], timeoutMs);
      if (reply.kind !== "loaded") throw new Error(`unexpected reply ${reply.kind}`);
      this.models.add(id);
      return reply.model;
    } finally {
      this.loads--;
    }
  }

  async unload(id: string, timeoutMs: number): Promise<void> {
    if (this.models.delete(id)) await this.#ask({ kind: "unload", id }, [], timeoutMs);
  }

  /** May transfer the buffers of `feeds`: the caller must own them and not touch them again. */
  async run(
    id: string,
    feeds: Tensor[],
    outputs: readonly string[] | undefined,
    timeoutMs: number,
    expectedMs: number,
  ): Promise<{ outputs: Tensor[]; times: RunTimes }> {
    const transfer = feeds.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer as ArrayBuffer]));
    if (this.runsInFlight++ === 0) this.#runBeganAt = performance.now();
    this.#expectedMs.push(expectedMs);
    try {
      const reply = await this.#ask({ kind: "run", id, feeds, outputs }, transfer, timeoutMs);
      if (reply.kind !== "ran") throw new Error(`unexpected reply ${reply.kind}`);
      return reply;
    } finally {
      this.runsInFlight--;
      this.#runBeganAt = performance.now();
      this.#expectedMs.shift();
    }
  }

  /** Expected time until the runs in flight have ended. */
  freeInMs(now: number): number {
    const [first, ...others] = this.#expectedMs;
    if (first === undefined) return 0;
    const leftMs = Math.max(0, this.#runBeganAt + first - now);
    return others.reduce((sum, ms) => sum + ms, leftMs);
  }

  /** Lets the worker release its sessions and end; kills it when that takes too long. */
  async close(timeoutMs: number): Promise<void> {
    if (this.alive) await this.#ask({ kind: "close" }, [], timeoutMs).catch(() => {});
    if (this.kill("closed")) await this.exited;
  }

  /** Gives the worker up. Whether it ends at once; a thread inside the runtime ends when it comes out. */
  kill(reason: string): boolean {
    this.#end(reason);
    return this.#channel.abandon();
  }

  /** For a process that is exiting: keeps the worker from doing harm then. */
  haltForExit(timeoutMs: number): void {
    this.#channel.haltForExit(timeoutMs);
  }

  #ask(question: Question, transfer: ArrayBuffer[], timeoutMs: number): Promise<Reply> {
    if (!this.alive) return Promise.reject(new WorkerCrashedError(this.name, "it is not running"));
    const seq = ++this.#seq;
    return new Promise<Reply>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(seq)?.reject(
          new DeadlineExceededError(`${question.kind} in worker '${this.name}'`, timeoutMs),
        );
        this.kill(`${question.kind} did not end within ${timeoutMs} ms`);
      }, timeoutMs);
      this.#pending.push({ seq, resolve, reject, timer });
      try {
        this.#channel.post({ ...question, seq }, transfer);
      } catch (error) {
        this.#settle(seq)?.reject(error as Error);
      }
    });
  }

  #receive(message: FromWorker): void {
    if (message.kind === "started") {
      this.#ready.resolve();
      return;
    }
    const pending = this.#settle(message.seq);
    if (message.kind === "failed") pending?.reject(reviveError(message.error));
    else pending?.resolve(message);
  }

  #settle(seq: number): Pending | undefined {
    const index = this.#pending.findIndex((pending) => pending.seq === seq);
    if (index < 0) return undefined;
    const [pending] = this.#pending.splice(index, 1) as [Pending];
    clearTimeout(pending.timer);
    return pending;
  }

  #end(reason: string): void {
    if (!this.alive) return;
    this.alive = false;
    const crash = new WorkerCrashedError(this.name, reason);
    this.#ready.reject(crash);
    for (const { seq } of [...this.#pending]) this.#settle(seq)?.reject(crash);
    this.#ended.resolve(reason);
  }
}
