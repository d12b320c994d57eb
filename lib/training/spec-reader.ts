/**
 * Reads training requests in a thread of its own: building a declared network to see whether it could be trained
 * takes up to seconds, which the broker's event loop does not have. One request is read at a time; some may wait.
 */

import { InvalidInputError } from "../errors.ts";
import type { TrainingSpec } from "../protocol/jobs.ts";
import { WarmThread } from "../runtime/warm-thread.ts";
import { assertPlainData } from "./plain-data.ts";

const ENTRY = new URL("./spec-task.ts", import.meta.url);
const MAX_WAITING = 64;
/** The largest networks that are accepted take a few seconds. */
const TIMEOUT_MS = 30_000;

export class SpecReader {
  readonly #thread = new WarmThread<unknown, TrainingSpec>(ENTRY, {
    name: "reader of training requests",
    maxWaiting: MAX_WAITING,
    timeoutMs: TIMEOUT_MS,
  });

  /**
   * As `parseTrainingSpec` reads it.
   * @throws what that throws; {QueueFullError} {DeadlineExceededError} {WorkerCrashedError} {DrainingError}
   */
  async read(request: unknown): Promise<TrainingSpec> {
    try {
      return await this.#thread.ask(request);
    } catch (error) {
      if (!(error instanceof DOMException || error instanceof RangeError)) throw error;
      // It cannot be copied, so it is no data; only who runs in this process can send such.
      return refuse(request, error.message);
    }
  }

  /** Refuses what is being read, and ends the thread. */
  close(): Promise<void> {
    return this.#thread.close();
  }
}

/** Names the field if it can. */
function refuse(request: unknown, reason: string): never {
  if (typeof request === "object" && request !== null)
    for (const [name, value] of Object.entries(request)) assertPlainData(value, name);
  throw new InvalidInputError({
    field: "training request",
    received: reason.slice(0, 200),
    expected: "JSON data",
  });
}
