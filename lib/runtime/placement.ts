/**
 * One loaded model and the workers that hold it: how many there may be, and which they are. A worker is a holder from
 * the moment it is chosen, before its session is made, so that two that start together do not both take the last place.
 */

import type { InstanceOptions, ModelSource } from "./inference-messages.ts";
import type { InstanceName } from "./model-name.ts";

export type LoadOptions = InstanceOptions & {
  /** Most workers that hold the model. @default all */
  workers?: number | undefined;
};

export class Placement<W> {
  readonly name: InstanceName;
  readonly source: ModelSource;
  readonly options: LoadOptions;
  readonly #holders = new Set<W>();

  constructor(name: InstanceName, source: ModelSource, options: LoadOptions, first: W) {
    this.name = name;
    this.source = source;
    this.options = options;
    this.#holders.add(first);
  }

  /** Whether the worker should hold the model and does not. */
  wants(worker: W): boolean {
    return (
      !this.#holders.has(worker) && this.#holders.size < (this.options.workers ?? Number.POSITIVE_INFINITY)
    );
  }

  take(worker: W): void {
    this.#holders.add(worker);
  }

  /** The worker has stopped, or could not load the model. */
  leave(worker: W): void {
    this.#holders.delete(worker);
  }
}
