/**
 * What of a model's configuration its sessions are made with. When it changes, loaded versions are made anew; the rest
 * of a configuration applies to them as they are.
 */

import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import type { LoadOptions } from "../runtime/worker-pool.ts";

export function loadOptionsOf({ instances, provider, warmup }: ModelConfiguration = {}): LoadOptions {
  return {
    workers: instances?.workers,
    intraOpThreads: instances?.intraOpThreads,
    provider,
    warmup,
  };
}

/** Equal for configurations whose sessions are made alike. */
export function instanceKey(configuration: ModelConfiguration | undefined): string {
  return JSON.stringify(loadOptionsOf(configuration));
}
