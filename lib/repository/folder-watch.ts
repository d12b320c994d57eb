/**
 * Looks at model folders at the start, again shortly after whenever something was being copied, and then as often as
 * asked, or never. Each model file is taken in by a process of its own, one after another: one
 * that makes the runtime abort, hang or take all memory is refused like any other that cannot be served.
 */

import { errorMessage, errorType, InvalidModelError } from "../errors.ts";
import { runProcessTask } from "../runtime/process-task.ts";
import { systemClock } from "../serving/clock.ts";
import { SyncLoop } from "../serving/sync-loop.ts";
import type { StoreLocation } from "../store/store.ts";
import type { ImportedModel, ImportTask } from "./import-task.ts";
import { RepositoryFolders, type RepositoryFoldersOptions } from "./repository-folders.ts";

export type FolderWatchOptions = Omit<RepositoryFoldersOptions, "importModel"> & {
  /** 0: not again once all that is there has been taken in. */
  pollSeconds: number;
  /** Where model files go. */
  store: StoreLocation;
  /** Between two looks that must be the same before something is taken in. @default 500 */
  settleMs?: number;
};

const IMPORT_ENTRY = new URL("./import-task.ts", import.meta.url);
const IMPORT_TIMEOUT_MS = 600_000;
/** Where nothing is polled, between tries of what failed and may pass. */
const RETRY_MS = 5_000;

/** @throws {InvalidModelError} also where the process ended over it, {CancelledError}, {DeadlineExceededError} */
export async function importModel(task: ImportTask, signal: AbortSignal): Promise<ImportedModel> {
  try {
    return await runProcessTask(IMPORT_ENTRY, task, {
      name: `import of ${task.path}`,
      signal,
      timeoutMs: IMPORT_TIMEOUT_MS,
    });
  } catch (error) {
    // Not to be tried again before the file changes.
    if (errorType(error) === "WORKER_CRASHED")
      throw new InvalidModelError("file", `its process ended over it: ${errorMessage(error)}`);
    throw error;
  }
}

export class FolderWatch {
  readonly folders: RepositoryFolders;
  readonly #loop: SyncLoop;
  readonly #stop = new AbortController();
  #looking: Promise<unknown> = Promise.resolve();

  constructor({ pollSeconds, store, settleMs = 500, ...options }: FolderWatchOptions) {
    const { signal } = this.#stop;
    this.folders = new RepositoryFolders({
      ...options,
      importModel: (task) => importModel({ store, ...task }, signal),
    });
    this.#loop = new SyncLoop({
      sync: () => {
        const look = this.folders.sync().then((again) => {
          if (again === "soon") this.#loop.poke();
          else if (again === "no" && pollSeconds === 0) this.#loop.stop();
        });
        this.#looking = look.catch(() => {});
        return look;
      },
      clock: systemClock,
      onFailure: (reason) => options.log.error(`Model folders cannot be followed: ${reason}`),
      pollMs: pollSeconds === 0 ? RETRY_MS : pollSeconds * 1000,
      settleMs,
    });
  }

  start(): void {
    this.#loop.start();
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.#loop.stop();
    this.folders.stop();
    this.#stop.abort();
    await this.#looking;
  }
}
