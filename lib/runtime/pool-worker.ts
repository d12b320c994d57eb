/**
 * One inference worker thread as the pool sees it: questions in flight, each with a deadline, and the guarantee that
 * every question is answered: with the reply, with the thread's error, or with WorkerCrashedError when it stops. A
 * thread that misses a deadline is taken for hung and killed.
 */

import { Worker } from "node:worker_threads";
import { DeadlineExceededError, errorMessage, WorkerCrashedError } from "../errors.ts";
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
import { NativeGate } from "./native-gate.ts";

type Reply = Exclude<FromWorker, { kind: "started" } | { kind: "failed" }>;
type Pending = {
  readonly seq: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
};
/** A message before it has its number. */
type Question = ToWorker extends infer M ? (M extends ToWorker ? Omit<M, "seq"> : never) : never;

const ENTRY = new URL("./inference-worker.ts", import.meta.url);

export class PoolWorker {
  readonly name: string;
  /** Resolves when the thread takes messages; rejects when it stops before. */
  readonly started: Promise<void>;
  /** Resolves with the reason once the thread is gone, after everything in flight was answered. */
  readonly stopped: Promise<string>;
  /** Resolves when the thread itself has ended, which may be long after it was given up. */
  readonly exited: Promise<void>;
  /** Model ids this thread can run. */
  readonly models = new Set<string>();
  /** Runs posted and not answered. */
  runsInFlight = 0;
  /** Loads in progress. Loading blocks the thread: no runs should be sent meanwhile. */
  loads = 0;
  alive = true;
  /** Of the runs in flight, which end in their order. */
  readonly #expectedMs: number[] = [];
  #runBeganAt = 0;
  readonly #gate = new NativeGate();
  readonly #thread: Worker;
  /** A handful. No map: see lib/serving/deadlines.ts on collections that come and go with requests. */
  #pending: Pending[] = [];
  readonly #ended = Promise.withResolvers<string>();
  readonly #ready = Promise.withResolvers<void>();
  #seq = 0;

  constructor(name: string) {
    this.name = name;
    this.started = this.#ready.promise;
    this.started.catch(() => {});
    this.stopped = this.#ended.promise;
    this.#thread = new Worker(ENTRY, { name, workerData: { gate: this.#gate.memory } });
    this.#thread.on("message", (message: FromWorker) => this.#receive(message));
    this.#thread.on("error", (error: unknown) => this.#end(errorMessage(error)));
    this.#thread.on("messageerror", (error) => this.kill(`unreadable message: ${error.message}`));
    this.exited = new Promise((resolve) => {
      this.#thread.on("exit", (code) => {
        this.#end(`exit code ${code}`);
        resolve();
      });
    });
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

  /** Transfers the buffers of `feeds`: the caller must own them and not touch them again. */
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

  /** Lets the thread release its sessions and end; kills it when that takes too long. */
  async close(timeoutMs: number): Promise<void> {
    if (this.alive) await this.#ask({ kind: "close" }, [], timeoutMs).catch(() => {});
    if (this.kill("closed")) await this.exited;
  }

  /** Gives the thread up. Whether it ends at once; if it is inside the runtime, it ends when it comes out. */
  kill(reason: string): boolean {
    this.#end(reason);
    // A thread that never comes out must not keep the process alive.
    this.#thread.unref();
    const outside = this.#gate.shut();
    if (outside) void this.#thread.terminate();
    return outside;
  }

  /** For a process that is exiting: keeps the thread from entering the runtime, and waits while it is inside. */
  haltForExit(timeoutMs: number): void {
    if (!this.#gate.shut()) this.#gate.waitUntilOutside(timeoutMs);
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
        this.#thread.postMessage({ ...question, seq }, transfer);
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
