/** Threads of one service: bounded in number, and all stopped when the service stops. */

import { DrainingError, QueueFullError } from "../errors.ts";
import { runTask } from "./task.ts";

/** One task computes with every core already; more would only take memory. */
const MAX_RUNNING = 2;
const MAX_WAITING = 64;

export class TaskGroup {
  private readonly name: string;
  private readonly stopped = new AbortController();
  private readonly waiting: (() => void)[] = [];
  private readonly active = new Set<Promise<unknown>>();
  private running = 0;

  constructor(name: string) {
    this.name = name;
  }

  /**
   * Runs `entry` in a thread once one is free.
   * @throws {QueueFullError} {DrainingError} {DeadlineExceededError}, or what the task throws
   */
  async run<Payload, Result>(entry: URL, payload: Payload, timeoutMs: number): Promise<Result> {
    if (this.stopped.signal.aborted) throw new DrainingError(this.name);
    if (this.waiting.length >= MAX_WAITING) throw new QueueFullError(this.name, MAX_WAITING);
    if (this.running < MAX_RUNNING) this.running++;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    if (this.stopped.signal.aborted) throw new DrainingError(this.name);
    const task = runTask<Payload, Result>(entry, payload, {
      name: this.name,
      timeoutMs,
      signal: this.stopped.signal,
    });
    this.active.add(task);
    try {
      return await task;
    } catch (error) {
      // A caller that hears "draining" tries another node.
      throw this.stopped.signal.aborted ? new DrainingError(this.name) : error;
    } finally {
      this.active.delete(task);
      // Who waited longest takes the place over; freed first, a newcomer could take it as well.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  /** Stops every thread and refuses what waits. */
  async stop(): Promise<void> {
    this.stopped.abort();
    for (const go of this.waiting.splice(0)) go();
    await Promise.allSettled([...this.active]);
  }
}
