/** Ctrl-C and SIGTERM: the first asks for an orderly stop, a second one ends the process at once. */

import { errorMessage } from "../lib/errors.ts";

/** An orderly stop that takes longer than this is given up. */
const STOP_TIMEOUT_MS = 30_000;
const INTERRUPTED = 130;

export function onStopSignal(stop: () => Promise<void>): void {
  let stopping = false;
  const handle = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(INTERRUPTED);
    stopping = true;
    setTimeout(() => {
      process.stderr.write(`Still stopping ${STOP_TIMEOUT_MS} ms after ${signal}; giving up\n`);
      process.exit(1);
    }, STOP_TIMEOUT_MS).unref();
    stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`Stopping failed: ${errorMessage(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
}
