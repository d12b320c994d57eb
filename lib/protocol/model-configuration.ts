/** How a model is served, set for all of its versions and every node; what is left out is the node's own default. */

export type ModelConfiguration = {
  batching?: {
    /** Most rows in one batch; 1 merges no requests. @default MOIETY_INFERENCE_MAX_BATCH */
    maxRows?: number;
    /** Longest wait for a batch to fill, in ms. @default MOIETY_INFERENCE_QUEUE_DELAY_MS */
    queueDelayMs?: number;
  };
  queue?: {
    /** Most requests waiting; further ones are refused with QUEUE_FULL. @default MOIETY_INFERENCE_MAX_QUEUE */
    maxRequests?: number;
    /** Deadline of a prediction that names none, and the latest it may name. At most the node's own counts. */
    timeoutMs?: number;
    /** Priorities 1 to this are told apart. @default 16 */
    priorityLevels?: number;
    /** Of requests that name none. @default the middle level */
    defaultPriority?: number;
  };
  /** Which versions are loaded besides those that aliases point to. @default the two newest */
  versions?: { latest: number } | { numbers: number[] } | "all";
  cache?: {
    /** false: this model's predictions are never cached. @default true */
    enabled?: boolean;
    /** How long a cached prediction lives. @default MOIETY_CACHE_TTL_SECONDS */
    ttlSeconds?: number;
  };
};
