/** Ctrl-C and SIGTERM: the first asks for an orderly stop, a second one ends the process at once. */

import { errorMessage } from "../lib/errors.ts";

/** An orderly stop that takes longer than this is given up. */
const STOP_TIMEOUT_MS = 60_000;
const INTERRUPTED = 130;

export type StopSignal = { stop: () => void; readonly stopping: boolean };

/** Runs `stopAll` at the first signal, or when `stop` is called, and ends the process. */
export function onStopSignal(stopAll: () => Promise<void>): StopSignal {
  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => {
      process.stderr.write(`Still stopping after ${STOP_TIMEOUT_MS} ms; giving up\n`);
      process.exit(1);
    }, STOP_TIMEOUT_MS).unref();
    stopAll().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`Stopping failed: ${errorMessage(error)}\n`);
        process.exit(1);
      },
    );
  };
  const handle = () => {
    if (stopping) process.exit(INTERRUPTED);
    stop();
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
  return {
    stop,
    get stopping() {
      return stopping;
    },
  };
}
