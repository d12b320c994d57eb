/**
 * A pool of inference workers, each holding a session of every loaded model, or of those it was chosen for. It hands
 * runs to idle workers, replaces one that stopped (with its models, after a back-off), repeats what the dead one had in
 * flight once, and loads new models worker after worker so that the others go on answering. Workers are threads, or
 * processes, whose native aborts take nothing else along.
 *
 * Copies per run: none here where workers are threads. Feeds are transferred to the thread and read there in place; ONNX
 * Runtime writes its outputs into fresh ArrayBuffers (its own copy, inside the binding), which are transferred back. Where
 * workers are processes, both are copied through a socket. What a retry needs cannot be in a transferred buffer, so a run
 * takes a function that assembles the feeds anew.
 */

import {
  DeadlineExceededError,
  DrainingError,
  ExecutionError,
  errorType,
  LoadFailedError,
  ModelCorruptError,
  UnavailableError,
} from "../errors.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { RunTimes } from "../protocol/statistics.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  CONFIGURATION_REFUSED,
  LOAD_REFUSED,
  type LoadedModel,
  type ModelSource,
  RUN_REFUSED,
} from "./inference-messages.ts";
import { type InstanceName, modelId } from "./model-name.ts";
import { type LoadOptions, Placement } from "./placement.ts";
import { PoolWorker } from "./pool-worker.ts";
import { ProcessChannel } from "./process-channel.ts";
import { ThreadChannel } from "./thread-channel.ts";
import { within } from "./within.ts";
import type { Isolation, OpenChannel } from "./worker-channel.ts";

export type { LoadedModel, ModelSource } from "./inference-messages.ts";
export { type InstanceName, type ModelName, modelId } from "./model-name.ts";
export type { LoadOptions } from "./placement.ts";

export type PoolOptions = {
  /** Threads. */
  workers: number;
  metrics: MetricSink;
  /** A run that takes longer is given up and its thread replaced. @default 30_000 */
  runTimeoutMs?: number;
  /** For one load in one thread, and for a thread to start. @default 60_000 */
  loadTimeoutMs?: number;
  /**
   * Runs posted to one thread at a time. The second waits inside the thread, which hides the two thread wake-ups
   * (together about 60 µs) between one run and the next. @default 2
   */
  runsPerWorker?: number;
  /** What workers are. @default "thread" */
  isolation?: Isolation;
};

/** `idle`: a thread would begin at once; `room`: it would wait behind one run; `none`: all are full. */
export type Capacity = "idle" | "room" | "none";

type Waiter = { id: string; grant(worker: PoolWorker): void; refuse(error: Error): void };

const CHANNELS: Readonly<Record<Isolation, OpenChannel>> = {
  thread: (name, events) => new ThreadChannel(name, events),
  process: (name, events) => new ProcessChannel(name, events),
};

const CLOSE_TIMEOUT_MS = 2000;
/** How long an exiting process waits for a thread to leave the runtime. */
const EXIT_WAIT_MS = 5000;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 5000;
/** A thread that lived this long before it stopped is replaced without delay. */
const HEALTHY_AFTER_MS = 10_000;

export class InferencePool {
  readonly #options: Required<PoolOptions>;
  readonly #workers = new Set<PoolWorker>();
  /** The workers and those given up whose threads have not ended yet. */
  readonly #threads = new Set<PoolWorker>();
  readonly #models = new Map<string, Placement<PoolWorker>>();
  readonly #waiters = new Set<Waiter>();
  readonly #roomListeners = new Set<() => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #loads: Promise<unknown> = Promise.resolve();
  #state: "running" | "draining" | "closed" = "running";
  #quickCrashes = 0;
  #started = 0;

  constructor(options: PoolOptions) {
    this.#options = {
      runTimeoutMs: 30_000,
      loadTimeoutMs: 60_000,
      runsPerWorker: 2,
      isolation: "thread",
      ...options,
    };
    for (let i = 0; i < options.workers; i++) this.#spawn();
    process.once("exit", this.#onExit);
  }

  /** The threads at the moment, for supervision. */
  get workers(): readonly PoolWorker[] {
    return [...this.#workers];
  }

  /** Resolves when every thread takes messages. @throws {WorkerCrashedError} {DeadlineExceededError} */
  async started(): Promise<void> {
    const { loadTimeoutMs } = this.#options;
    await Promise.all(
      [...this.#workers].map((worker) =>
        within(worker.started, loadTimeoutMs, `start of worker '${worker.name}'`),
      ),
    );
  }

  /**
   * Loads a model in every thread, or in as many as `options` says, and warms it up there. With `bytes` the pool keeps
   * them, for threads to come.
   * @throws {ModelCorruptError} with the runtime's reason; the threads and other models are untouched
   * @throws {LoadFailedError} when `options` do not fit the model or this machine
   * @throws errors of the store, by `type`
   */
  load(name: InstanceName, source: ModelSource, options: LoadOptions = {}): Promise<LoadedModel> {
    // One load at a time: each takes a thread from the predictions.
    const turn = this.#loads.then(() => this.#load(name, source, options));
    this.#loads = turn.catch(() => {});
    return turn;
  }

  async #load(name: InstanceName, source: ModelSource, options: LoadOptions): Promise<LoadedModel> {
    const id = modelId(name);
    if (this.#state !== "running") throw new DrainingError("The inference pool");
    if (this.#models.has(id)) throw new Error(`model ${id} is already loaded`);
    await this.started();
    const [first] = this.#leastLoaded();
    if (!first) throw new UnavailableError("Inference", "no worker is running");
    const loaded = await this.#loadInto(first, name, source, options);
    const placement = new Placement(name, source, options, first);
    this.#models.set(id, placement);
    if (!first.alive) placement.leave(first);
    // Those that started meanwhile did not know of it. Half of the others at a time: what one thread could load, the
    // others can, and predictions go on meanwhile.
    const others = this.#leastLoaded();
    const step = Math.max(1, Math.ceil((others.length - 1) / 2));
    for (let i = 0; i < others.length; i += step)
      await Promise.all(others.slice(i, i + step).map((worker) => this.#restore(worker)));
    return loaded;
  }

  #leastLoaded(): PoolWorker[] {
    return [...this.#workers].sort((a, b) => a.models.size - b.models.size);
  }

  /** Frees a model's sessions after the runs before it. Unknown ids are no error. */
  async unload(name: InstanceName): Promise<void> {
    const id = modelId(name);
    this.#models.delete(id);
    const { loadTimeoutMs } = this.#options;
    await Promise.allSettled([...this.#workers].map((worker) => worker.unload(id, loadTimeoutMs)));
  }

  /** What a run of the model would meet now. */
  capacity(name: InstanceName): Capacity {
    const worker = this.#pick(modelId(name));
    if (!worker) return "none";
    return worker.runsInFlight === 0 ? "idle" : "room";
  }

  /** Expected time until the worker that would run the model is free; 0 when it is, or none has it. */
  freeInMs(name: InstanceName): number {
    return this.#pick(modelId(name))?.freeInMs(performance.now()) ?? 0;
  }

  /** Workers that would begin a run of the model at once. */
  idleWorkers(name: InstanceName): number {
    const id = modelId(name);
    let idle = 0;
    for (const worker of this.#workers) if (isReady(worker, id) && worker.runsInFlight === 0) idle++;
    return idle;
  }

  /** Calls `listener` once, when a thread has got room; listeners take turns in the order they came. */
  onRoom(listener: () => void): void {
    this.#roomListeners.add(listener);
  }

  /**
   * Runs the model on an idle thread, or waits for one. `feeds` is called once per attempt; the pool owns (and
   * transfers) the buffers it returns.
   * @param outputs names to fetch; undefined: all, in the model's order
   * @param onTimes told how long the run took, before it is answered
   * @param expectedMs how long it is likely to take
   * @throws {ExecutionError} the runtime refused; {WorkerCrashedError} two threads died of it;
   * {DeadlineExceededError} no thread got free, or the run did not end; {DrainingError}
   */
  async run(
    name: InstanceName,
    feeds: () => Tensor[],
    outputs?: readonly string[],
    onTimes?: (times: RunTimes) => void,
    expectedMs = 0,
  ): Promise<Tensor[]> {
    const id = modelId(name);
    for (let attempt = 1; ; attempt++) {
      const worker = this.#pick(id) ?? (await this.#waitForWorker(id));
      try {
        const ran = await worker.run(id, feeds(), outputs, this.#options.runTimeoutMs, expectedMs);
        onTimes?.(ran.times);
        return ran.outputs;
      } catch (error) {
        const type = errorType(error);
        if (type === RUN_REFUSED)
          throw new ExecutionError(
            `Model '${name.model}' version '${name.version}'`,
            (error as Error).message,
          );
        if (type !== "WORKER_CRASHED" || attempt === 2 || this.#state === "closed") throw error;
      } finally {
        this.#offerRoom();
      }
    }
  }

  /** Takes no new loads, lets runs in flight end; gives up waiting after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#state === "running") this.#state = "draining";
    const giveUpAt = performance.now() + timeoutMs;
    const busy = () => this.#waiters.size > 0 || [...this.#workers].some((worker) => worker.runsInFlight > 0);
    while (busy() && performance.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Ends every thread; whoever still waits is answered. */
  async close(): Promise<void> {
    this.#state = "closed";
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const waiter of [...this.#waiters]) waiter.refuse(new DrainingError("The inference pool"));
    this.#roomListeners.clear();
    await Promise.all([...this.#workers].map((worker) => worker.close(CLOSE_TIMEOUT_MS)));
    // A thread that was given up inside the runtime gets time to come out.
    const exits = Promise.all([...this.#threads].map((worker) => worker.exited.then(() => {})));
    await within(exits, EXIT_WAIT_MS, "end of inference threads").catch(() => {});
    // With a thread still inside the runtime the listener stays: the process may exit before the thread does.
    if (this.#threads.size === 0) process.removeListener("exit", this.#onExit);
  }

  readonly #onExit = (): void => {
    for (const worker of this.#threads) worker.haltForExit(EXIT_WAIT_MS);
  };

  /** The thread with the fewest runs in flight among those with room; among equals the one that is free first. */
  #pick(id: string): PoolWorker | undefined {
    let best: PoolWorker | undefined;
    let bestFreeInMs = 0;
    for (const worker of this.#workers) {
      if (!isReady(worker, id)) continue;
      if (worker.runsInFlight === 0) return worker;
      if (worker.runsInFlight >= this.#options.runsPerWorker) continue;
      if (best && worker.runsInFlight > best.runsInFlight) continue;
      const freeInMs = worker.freeInMs(performance.now());
      if (best && worker.runsInFlight === best.runsInFlight && freeInMs >= bestFreeInMs) continue;
      best = worker;
      bestFreeInMs = freeInMs;
    }
    return best;
  }

  #waitForWorker(id: string): Promise<PoolWorker> {
    if (this.#state === "closed") throw new DrainingError("The inference pool");
    if (!this.#models.has(id)) throw new UnavailableError(`Model ${id}`, "it is not loaded");
    const { runTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        id,
        grant: (worker) => {
          settle();
          resolve(worker);
        },
        refuse: (error) => {
          settle();
          reject(error);
        },
      };
      const timer = setTimeout(
        () => waiter.refuse(new DeadlineExceededError("Waiting for an inference worker", runTimeoutMs)),
        runTimeoutMs,
      );
      this.#waiters.add(waiter);
    });
  }

  /** Gives room that appeared to whoever waits: retries first, then the batchers in turn. */
  #offerRoom(): void {
    for (const waiter of this.#waiters) {
      const worker = this.#pick(waiter.id);
      if (!worker) continue;
      // One at a time: its run is not counted yet, and will offer the room that is left when it ends.
      waiter.grant(worker);
      break;
    }
    // Whoever was served goes to the end of the line; whoever was not reached keeps its place.
    for (const listener of [...this.#roomListeners]) {
      if (!this.#hasRoom()) return;
      this.#roomListeners.delete(listener);
      listener();
    }
  }

  #hasRoom(): boolean {
    for (const worker of this.#workers)
      if (worker.alive && worker.loads === 0 && worker.runsInFlight < this.#options.runsPerWorker)
        return true;
    return false;
  }

  #spawn(): void {
    const open = CHANNELS[this.#options.isolation];
    const worker = new PoolWorker(`inference-${++this.#started}`, open);
    const bornAt = performance.now();
    this.#workers.add(worker);
    this.#threads.add(worker);
    void worker.exited.then(() => this.#threads.delete(worker));
    void worker.stopped.then(() => this.#replace(worker, performance.now() - bornAt));
    void worker.started.then(
      () => this.#restore(worker),
      () => {},
    );
  }

  #replace(worker: PoolWorker, livedMs: number): void {
    this.#workers.delete(worker);
    for (const placement of this.#models.values()) placement.leave(worker);
    if (this.#state === "closed") return;
    this.#options.metrics.increment("moiety.inference.worker.restarts");
    this.#quickCrashes = livedMs > HEALTHY_AFTER_MS ? 0 : this.#quickCrashes + 1;
    // The first replacement comes at once; a thread that keeps dying must not take the machine with it.
    const backoffMs =
      this.#quickCrashes <= 1 ? 0 : Math.min(BACKOFF_MIN_MS * 2 ** (this.#quickCrashes - 2), BACKOFF_MAX_MS);
    this.#after(backoffMs, () => this.#spawn());
  }

  /** Loads what this thread lacks; what cannot be loaded now (the store is away) is tried again. */
  async #restore(worker: PoolWorker, backoffMs = 1000): Promise<void> {
    for (const [id, placement] of this.#models) {
      if (!worker.alive || this.#state === "closed" || !placement.wants(worker)) continue;
      placement.take(worker);
      const { name, source, options } = placement;
      await this.#loadInto(worker, name, source, options).catch(() => placement.leave(worker));
      // It may have been unloaded everywhere else in the meantime.
      if (!this.#models.has(id)) await worker.unload(id, this.#options.loadTimeoutMs).catch(() => {});
    }
    const lacking = [...this.#models.values()].some((placement) => placement.wants(worker));
    if (lacking && worker.alive)
      this.#after(backoffMs, () => void this.#restore(worker, Math.min(backoffMs * 2, 30_000)));
  }

  async #loadInto(
    worker: PoolWorker,
    name: InstanceName,
    source: ModelSource,
    options: LoadOptions,
  ): Promise<LoadedModel> {
    try {
      return await worker.load(modelId(name), source, options, this.#options.loadTimeoutMs);
    } catch (error) {
      const type = errorType(error);
      const reason = (error as Error).message;
      if (type === CONFIGURATION_REFUSED) throw new LoadFailedError(name.model, name.version, reason);
      if (type === LOAD_REFUSED || type === "INVALID_MODEL")
        throw new ModelCorruptError(name.model, name.version, reason);
      throw error;
    } finally {
      this.#offerRoom();
    }
  }

  #after(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (this.#state !== "closed") action();
    }, delayMs);
    this.#timers.add(timer);
  }
}

/** Whether it takes runs of the model now. */
function isReady(worker: PoolWorker, id: string): boolean {
  return worker.alive && worker.loads === 0 && worker.models.has(id);
}
