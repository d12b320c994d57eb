/**
 * A worker that is a process of its own: a native abort in it, or the kernel's killing it for its memory, is seen as its
 * end and takes nothing else along. Messages are serialised by V8 and copied through a socket; typed arrays keep their
 * types.
 */

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { errorMessage, WorkerCrashedError } from "../errors.ts";
import type { FromWorker, ToWorker } from "./inference-messages.ts";
import type { ChannelEvents, WorkerChannel } from "./worker-channel.ts";

const ENTRY = fileURLToPath(new URL("./inference-worker.ts", import.meta.url));

export class ProcessChannel implements WorkerChannel {
  readonly #name: string;
  readonly #process: ChildProcess;

  constructor(name: string, events: ChannelEvents) {
    this.#name = name;
    this.#process = fork(ENTRY, [], {
      serialization: "advanced",
      // Flags of this process (a debugger's port, say) are not the worker's.
      execArgv: ["--disable-warning=ExperimentalWarning"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#process.on("message", (message) => events.message(message as FromWorker));
    this.#process.on("error", (error: unknown) => events.failed(errorMessage(error)));
    this.#process.on("exit", (code, signal) =>
      events.exited(signal === null ? `exit code ${code}` : `signal ${signal}`),
    );
  }

  /** Of the worker's process; undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  post(message: ToWorker): void {
    if (!this.#process.connected) throw new WorkerCrashedError(this.#name, "its process has ended");
    // Where sending fails later, the process has ended, and its end is told.
    this.#process.send(message, () => {});
  }

  abandon(): boolean {
    this.#process.kill("SIGKILL");
    return true;
  }

  haltForExit(): void {
    this.#process.kill("SIGKILL");
  }
}
