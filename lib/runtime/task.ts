/**
 * One task in a thread of its own: training, conversion, evaluation. The broker's event loop only passes messages.
 *
 * Caller: `runTask(entry, payload, …)`. Thread: `serveTask(handler)` in the entry module. Cancelling is a shared
 * flag the thread reads between steps, so that it takes effect however busy the thread is; a thread that does not
 * stop within the grace period is terminated. The thread always ends with its task.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { CancelledError, DeadlineExceededError, errorMessage, WorkerCrashedError } from "../errors.ts";
import { type FlatError, flattenError, reviveError } from "./flat-error.ts";
import { NativeGate } from "./native-gate.ts";

type FromTask<Note, Result> =
  | { kind: "note"; note: Note }
  | { kind: "done"; result: Result }
  | { kind: "failed"; error: FlatError };

type TaskData<Payload> = { payload: Payload; cancelFlag: Int32Array; nativeGate: SharedArrayBuffer };

/** How long an exiting process waits for a thread to come out of the runtime. */
const NATIVE_CALL_LIMIT_MS = 5000;
const GATE_POLL_MS = 20;

export type TaskOptions<Note> = {
  /** Names the thread in errors. */
  name: string;
  /** Cancels the task when aborted. */
  signal?: AbortSignal;
  /** @default none */
  timeoutMs?: number;
  /** How long a cancelled thread may take to stop by itself. @default 5000 */
  graceMs?: number;
  onNote?: (note: Note) => void;
};

/**
 * Runs `entry` in a new thread and gives what its handler returns.
 * @throws what the handler threw (with its `type`), {CancelledError}, {DeadlineExceededError}, {WorkerCrashedError}
 */
export function runTask<Payload, Result, Note = never>(
  entry: URL,
  payload: Payload,
  options: TaskOptions<Note>,
): Promise<Result> {
  const { name, signal, timeoutMs, graceMs = 5000, onNote } = options;
  if (signal?.aborted) return Promise.reject(new CancelledError(name));
  return new Promise<Result>((resolve, reject) => {
    const cancelFlag = new Int32Array(new SharedArrayBuffer(4));
    const gate = new NativeGate();
    const thread = new Worker(entry, {
      name,
      workerData: { payload, cancelFlag, nativeGate: gate.memory } satisfies TaskData<Payload>,
    });
    // A process that exits while a thread is inside the runtime would be aborted.
    const onExit = () => {
      if (!gate.shut()) gate.waitUntilOutside(NATIVE_CALL_LIMIT_MS);
    };
    process.once("exit", onExit);
    const terminate = () => {
      if (gate.shut()) void thread.terminate();
      else grace = setTimeout(terminate, GATE_POLL_MS);
    };
    let outcome: (() => void) | undefined;
    let grace: NodeJS.Timeout | undefined;

    const stop = (reason: Error) => {
      outcome ??= () => reject(reason);
      Atomics.store(cancelFlag, 0, 1);
      grace ??= setTimeout(terminate, graceMs);
    };
    const onAbort = () => stop(new CancelledError(name));
    const deadline =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => stop(new DeadlineExceededError(name, timeoutMs)), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });

    thread.on("message", (message: FromTask<Note, Result>) => {
      if (message.kind === "note") {
        if (!outcome) onNote?.(message.note);
        return;
      }
      if (message.kind === "done") outcome ??= () => resolve(message.result);
      else outcome ??= () => reject(reviveError(message.error));
      // Something the handler left open must not keep the thread, and with it the answer.
      grace ??= setTimeout(terminate, graceMs);
    });
    thread.on("error", (error) => {
      outcome ??= () => reject(new WorkerCrashedError(name, errorMessage(error)));
    });
    // Settles only once the thread is gone: whatever comes next finds its memory and cores free.
    thread.on("exit", (code) => {
      clearTimeout(deadline);
      clearTimeout(grace);
      process.off("exit", onExit);
      signal?.removeEventListener("abort", onAbort);
      if (outcome) outcome();
      else reject(new WorkerCrashedError(name, `exit code ${code}`));
    });
  });
}

export type TaskContext<Note> = {
  /** Whether the caller wants the task to stop. */
  cancelled(): boolean;
  note(note: Note): void;
};

/** In an entry module: runs `handler` on the payload and answers for it. */
export function serveTask<Payload, Result, Note = never>(
  handler: (payload: Payload, context: TaskContext<Note>) => Promise<Result>,
): void {
  const port = parentPort;
  if (isMainThread || !port) throw new Error("serveTask runs in a thread started by runTask");
  const { payload, cancelFlag } = workerData as TaskData<Payload>;
  const context: TaskContext<Note> = {
    cancelled: () => Atomics.load(cancelFlag, 0) === 1,
    note: (note) => port.postMessage({ kind: "note", note }),
  };
  handler(payload, context).then(
    (result) => port.postMessage({ kind: "done", result }),
    (error: unknown) => port.postMessage({ kind: "failed", error: flattenError(error, "EXECUTION_FAILED") }),
  );
}
