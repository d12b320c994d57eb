/**
 * A worker that is a thread of this process: buffers are transferred, not copied. It is never ended inside ONNX Runtime
 * (see native-gate.ts).
 */

import { Worker } from "node:worker_threads";
import { errorMessage } from "../errors.ts";
import type { FromWorker, ToWorker } from "./inference-messages.ts";
import { NativeGate } from "./native-gate.ts";
import type { ChannelEvents, WorkerChannel } from "./worker-channel.ts";

const ENTRY = new URL("./inference-worker.ts", import.meta.url);

export class ThreadChannel implements WorkerChannel {
  readonly #gate = new NativeGate();
  readonly #thread: Worker;

  constructor(name: string, events: ChannelEvents) {
    this.#thread = new Worker(ENTRY, { name, workerData: { gate: this.#gate.memory } });
    this.#thread.on("message", (message: FromWorker) => events.message(message));
    this.#thread.on("error", (error: unknown) => events.failed(errorMessage(error)));
    this.#thread.on("messageerror", (error) => events.failed(`unreadable message: ${error.message}`));
    this.#thread.on("exit", (code) => events.exited(`exit code ${code}`));
  }

  post(message: ToWorker, transfer: ArrayBuffer[]): void {
    this.#thread.postMessage(message, transfer);
  }

  /** If it is inside the runtime, it ends when it comes out. */
  abandon(): boolean {
    // A thread that never comes out must not keep the process alive.
    this.#thread.unref();
    const outside = this.#gate.shut();
    if (outside) void this.#thread.terminate();
    return outside;
  }

  /** Keeps the thread from entering the runtime, and waits while it is inside. */
  haltForExit(timeoutMs: number): void {
    if (!this.#gate.shut()) this.#gate.waitUntilOutside(timeoutMs);
  }
}
