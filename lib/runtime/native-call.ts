/**
 * Calls into ONNX Runtime from a task's thread, guarded so that the thread is never ended inside one (see
 * native-gate.ts). Outside such a thread the call is simply made.
 */

import { workerData } from "node:worker_threads";
import { NativeGate } from "./native-gate.ts";

const memory: unknown = (workerData as { nativeGate?: unknown } | null)?.nativeGate;
const gate = memory instanceof SharedArrayBuffer ? new NativeGate(memory) : undefined;

/** @throws {Error} when the thread is being stopped, or what `call` throws */
export function nativeCall<T>(call: () => Promise<T>): Promise<T> {
  return gate ? gate.through(call) : call();
}
