/**
 * The worker's own end: the same whether it is a thread or a process. As a process it leaves signals to its parent, which
 * drains before it ends it, and ends with it.
 */

import { isMainThread, parentPort, workerData } from "node:worker_threads";
import type { FromWorker, ToWorker } from "./inference-messages.ts";
import { NativeGate } from "./native-gate.ts";

export interface WorkerPort {
  readonly gate: NativeGate;
  onMessage(listener: (message: ToWorker) => void): void;
  post(message: FromWorker, transfer: ArrayBuffer[]): void;
  close(): void;
}

/** @throws {Error} outside of a worker */
export function openWorkerPort(): WorkerPort {
  if (!isMainThread && parentPort) return threadPort(parentPort);
  if (process.send) return processPort();
  throw new Error("inference-worker.ts is the entry of a worker");
}

function threadPort(port: NonNullable<typeof parentPort>): WorkerPort {
  return {
    gate: new NativeGate((workerData as { gate: SharedArrayBuffer }).gate),
    onMessage: (listener) => void port.on("message", listener),
    post: (message, transfer) => port.postMessage(message, transfer),
    close: () => port.close(),
  };
}

function processPort(): WorkerPort {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit());
  return {
    gate: new NativeGate(),
    onMessage: (listener) => void process.on("message", (message) => listener(message as ToWorker)),
    post: (message) => void process.send?.(message, undefined, undefined, () => {}),
    close: () => process.disconnect(),
  };
}
