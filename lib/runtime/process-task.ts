/**
 * One task in a process of its own: for work that may abort, hang or be killed for its memory inside native code, which
 * would take a thread's whole process along. Slower to start than a thread (task.ts), and everything is copied.
 *
 * Caller: `runProcessTask(entry, payload, …)`. Process: `serveProcessTask(handler)` in the entry module. The process
 * always ends with its task, at once when it is cancelled, and with its caller.
 */

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { CancelledError, DeadlineExceededError, errorMessage, WorkerCrashedError } from "../errors.ts";
import { type FlatError, flattenError, reviveError } from "./flat-error.ts";

type FromTask<Result> = { kind: "done"; result: Result } | { kind: "failed"; error: FlatError };

export type ProcessTaskOptions = {
  /** Names the process in errors. */
  name: string;
  /** Kills the process when aborted. */
  signal: AbortSignal;
  timeoutMs: number;
};

/**
 * Runs `entry` in a new process and gives what its handler returns.
 * @throws what the handler threw (with its `type`), {CancelledError}, {DeadlineExceededError}, {WorkerCrashedError}
 */
export function runProcessTask<Payload, Result>(
  entry: URL,
  payload: Payload,
  { name, signal, timeoutMs }: ProcessTaskOptions,
): Promise<Result> {
  if (signal.aborted) return Promise.reject(new CancelledError(name));
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(entry), [], {
      serialization: "advanced",
      // Flags of this process (a debugger's port, say) are not the task's.
      execArgv: ["--disable-warning=ExperimentalWarning"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    let outcome: (() => void) | undefined;
    const kill = (reason: Error) => {
      outcome ??= () => reject(reason);
      child.kill("SIGKILL");
    };
    const onAbort = () => kill(new CancelledError(name));
    const deadline = setTimeout(() => kill(new DeadlineExceededError(name, timeoutMs)), timeoutMs);
    signal.addEventListener("abort", onAbort, { once: true });
    // The task's end is what settles it: whatever comes next finds its memory free.
    const settle = (how: string) => {
      clearTimeout(deadline);
      signal.removeEventListener("abort", onAbort);
      if (outcome) outcome();
      else reject(new WorkerCrashedError(name, how));
    };
    child.on("message", (message) => {
      const told = message as FromTask<Result>;
      outcome ??= told.kind === "done" ? () => resolve(told.result) : () => reject(reviveError(told.error));
      child.kill("SIGKILL");
    });
    child.on("exit", (code, killed) => settle(killed === null ? `exit code ${code}` : `signal ${killed}`));
    // Of a process that could not be started there is no end to wait for.
    child.on("error", (error) => {
      if (child.pid === undefined) settle(errorMessage(error));
    });
    try {
      // Where sending fails later, the process has ended, and its end is told.
      child.send(payload as object, () => {});
    } catch (error) {
      kill(error as Error);
    }
  });
}

/** In an entry module: runs `handler` on the payload and answers for it. */
export function serveProcessTask<Payload, Result>(handler: (payload: Payload) => Promise<Result>): void {
  const answer = (message: FromTask<Result>) => void process.send?.(message, undefined, undefined, () => {});
  // Signals are for the caller, which decides what becomes of the task.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
  process.on("disconnect", () => process.exit());
  process.once("message", (payload) =>
    handler(payload as Payload).then(
      (result) => answer({ kind: "done", result }),
      (error: unknown) => answer({ kind: "failed", error: flattenError(error, "EXECUTION_FAILED") }),
    ),
  );
}
