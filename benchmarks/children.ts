/**
 * Child processes of a benchmark: contestants, servers, the load generator. Each runs in a process group of its own, so
 * that pausing and stopping reach its workers too; they also reach descendants that have left the group. Children speak
 * lines; every wait has a deadline; what a child says on stderr goes to a log file whose end is quoted when it fails.
 * `withChildren` leaves none behind.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BENCH_DIRECTORY } from "./peers/peers.ts";
import { cpuTimeMs, descendantsOf, type ProcessIdentity, signalProcess } from "./process-tree.ts";

const LOG_DIRECTORY = join(BENCH_DIRECTORY, "logs");
const MAX_WAITING_LINES = 10_000;
const TERM_GRACE_MS = 15_000;
const KILL_GRACE_MS = 5_000;
const INTERRUPT_GRACE_MS = 30_000;
const INTERRUPTED = 130;

export type ChildCommand = {
  /** Names its log file; unique in one run. */
  name: string;
  command: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
};

type Waiter = {
  accepts: (line: string) => boolean;
  resolve: (line: string) => void;
  reject: (error: Error) => void;
};

export class ChildFailedError extends Error {
  override name = "ChildFailedError";
}

export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #logFile: string;
  readonly #exited: Promise<void>;
  #lines: string[] = [];
  #waiter: Waiter | undefined;
  #ended = false;
  #descendants: ProcessIdentity[] = [];

  constructor({ name, command, args, env }: ChildCommand) {
    this.name = name;
    mkdirSync(LOG_DIRECTORY, { recursive: true });
    this.#logFile = join(LOG_DIRECTORY, `${name}.log`);
    const log = openSync(this.#logFile, "w");
    this.#process = spawn(command, args, {
      detached: true,
      stdio: ["pipe", "pipe", log],
      env: { ORT_DISABLE_TELEMETRY: "1", ...process.env, ...env },
    });
    closeSync(log);
    this.#process.stdin?.on("error", () => {});
    createInterface({ input: this.#process.stdout! }).on("line", (line) => this.#take(line));
    this.#exited = new Promise((resolve) => {
      const end = (reason: string): void => {
        this.#ended = true;
        this.#waiter?.reject(this.#failure(reason));
        this.#waiter = undefined;
        resolve();
      };
      this.#process.once("error", (error) => end(`cannot be started: ${error.message}`));
      this.#process.once("exit", (code, signal) => end(`ended with ${signal ?? `exit code ${code}`}`));
    });
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Processor time of it and of all that descend from it, so far. */
  get cpuMs(): number {
    return this.#process.pid === undefined ? 0 : cpuTimeMs(this.#process.pid);
  }

  send(message: unknown): void {
    this.#process.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  /** The next line on stdout that `accepts` takes; others before it are dropped. @throws {ChildFailedError} */
  line(accepts: (line: string) => boolean, deadlineMs: number): Promise<string> {
    if (this.#waiter) throw new Error(`${this.name}: one wait at a time`);
    const at = this.#lines.findIndex(accepts);
    if (at >= 0) {
      const line = this.#lines[at]!;
      this.#lines = this.#lines.slice(at + 1);
      return Promise.resolve(line);
    }
    this.#lines = [];
    if (this.#ended) return Promise.reject(this.#failure("has ended"));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiter = undefined;
        reject(this.#failure(`said nothing for ${deadlineMs} ms`));
      }, deadlineMs);
      this.#waiter = {
        accepts,
        resolve: (line) => {
          clearTimeout(timer);
          resolve(line);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  /** The next JSON object on stdout. `{"error": …}` is thrown. @throws {ChildFailedError} */
  async message<T>(deadlineMs: number): Promise<T> {
    const message = JSON.parse(await this.line((line) => line.startsWith("{"), deadlineMs)) as T & {
      error?: unknown;
    };
    if (message.error !== undefined) throw this.#failure(String(message.error));
    return message;
  }

  async ask<T>(message: unknown, deadlineMs: number): Promise<T> {
    this.send(message);
    return this.message<T>(deadlineMs);
  }

  /** Takes the processor from it and from all that descend from it until `resume`. */
  pause(): void {
    this.#signal("SIGSTOP");
    this.#signalDescendants("SIGSTOP");
  }

  resume(): void {
    this.#signalDescendants("SIGCONT");
    this.#signal("SIGCONT");
  }

  /** Asks it to end, then makes it; resolved when the group is gone. */
  async stop(termGraceMs: number): Promise<void> {
    if (!this.#ended) {
      this.resume();
      this.#findDescendants();
      this.#process.stdin?.end();
      this.#signal("SIGTERM");
      await this.#endsWithin(termGraceMs);
    }
    // Also reaches what an ended leader left behind.
    this.#signal("SIGKILL");
    for (const descendant of this.#descendants) signalProcess(descendant, "SIGKILL");
    await this.#endsWithin(KILL_GRACE_MS);
  }

  /** For exit handlers, where nothing can be awaited. */
  kill(): void {
    this.#signalDescendants("SIGKILL");
    this.#signal("SIGKILL");
  }

  #take(line: string): void {
    if (this.#waiter?.accepts(line)) {
      const { resolve } = this.#waiter;
      this.#waiter = undefined;
      resolve(line);
    } else if (!this.#waiter && this.#lines.length < MAX_WAITING_LINES) this.#lines.push(line);
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#process;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The group is gone: nothing left to signal.
    }
  }

  /** Descendants, whatever group they are in; those of a dead parent are still known from before. */
  #findDescendants(): void {
    if (this.#process.pid !== undefined && !this.#ended) this.#descendants = descendantsOf(this.#process.pid);
  }

  #signalDescendants(signal: NodeJS.Signals): void {
    this.#findDescendants();
    for (const descendant of this.#descendants) signalProcess(descendant, signal);
  }

  async #endsWithin(graceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([this.#exited, grace]);
    clearTimeout(timer);
  }

  #failure(reason: string): ChildFailedError {
    let tail = "";
    try {
      tail = readFileSync(this.#logFile, "utf8").trim().split("\n").slice(-8).join("\n  ");
    } catch {
      // Without a log the reason stands alone.
    }
    return new ChildFailedError(`${this.name} ${reason} (log: ${this.#logFile})${tail ? `\n  ${tail}` : ""}`);
  }
}

/** Starts children and leaves none behind: neither on an error nor on Ctrl-C. */
export class Children {
  readonly #children = new Set<Child>();
  readonly #termGraceMs: number;
  #closed = false;

  /** @param termGraceMs how long a child may take to end by itself */
  constructor(termGraceMs = TERM_GRACE_MS) {
    this.#termGraceMs = termGraceMs;
  }

  /** @throws {Error} after `close` */
  start(command: ChildCommand): Child {
    if (this.#closed) throw new Error(`${command.name} is not started: the benchmark is ending`);
    const child = new Child(command);
    this.#children.add(child);
    return child;
  }

  async stop(child: Child): Promise<void> {
    await child.stop(this.#termGraceMs);
    this.#children.delete(child);
  }

  /** Stops all and starts no more; whoever waits for a child gets its failure. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#children].map((child) => this.stop(child)));
  }

  killAll(): void {
    for (const child of this.#children) child.kill();
  }
}

/** Runs a benchmark's body with children that are gone when it ends, however it ends. Ctrl-C ends the process. */
export async function withChildren(body: (children: Children) => Promise<void>): Promise<void> {
  const children = new Children();
  let interrupted = false;
  const onExit = (): void => children.killAll();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (interrupted) process.exit(INTERRUPTED);
    interrupted = true;
    console.error(`\n${signal}: stopping the contestants`);
    void children.close();
    setTimeout(() => process.exit(INTERRUPTED), INTERRUPT_GRACE_MS).unref();
  };
  process.once("exit", onExit);
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    await body(children);
  } catch (error) {
    if (!interrupted) throw error;
  } finally {
    await children.close();
    process.off("exit", onExit);
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
  if (interrupted) process.exit(INTERRUPTED);
}
