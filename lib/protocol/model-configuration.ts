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
    /**
     * What happens to a request that finds the queue full: "reject" refuses it with QUEUE_FULL; "delay" keeps it
     * outside, in order of arrival, until there is room or its deadline has passed; bounded too. @default "reject"
     */
    whenFull?: "reject" | "delay";
  };
  instances?: {
    /** Worker threads that hold the model. @default all, MOIETY_INFERENCE_WORKERS */
    workers?: number;
    /** Threads one run of the model uses. @default 1 */
    intraOpThreads?: number;
  };
  /** What computes. A node that cannot offer it says so when it loads the model. @default "cpu" */
  provider?: ExecutionProvider;
  /** Requests run on every instance before a version answers. @default one of zeros, where the shapes allow */
  warmup?: WarmupRequest[];
  /** Names of classes, in their order, in place of those the version was published with. */
  labels?: string[];
  /** Which versions are loaded besides those that aliases point to. @default the two newest */
  versions?: { latest: number } | { numbers: number[] } | "all";
  cache?: {
    /** false: this model's predictions are never cached. @default true */
    enabled?: boolean;
    /** How long a cached prediction lives. @default MOIETY_CACHE_TTL_SECONDS */
    ttlSeconds?: number;
    /** Most bytes of this process's memory that this model's predictions take. @default what all share */
    maxBytes?: number;
  };
};

export const EXECUTION_PROVIDERS = ["cpu", "cuda", "tensorrt", "webgpu", "coreml", "dml"] as const;
export type ExecutionProvider = (typeof EXECUTION_PROVIDERS)[number];

export type WarmupRequest = {
  /** Rows of inputs whose shape is not given. @default 1 */
  rows?: number;
  /** How often it is run. @default 1 */
  count?: number;
  /** By input name; what is left out is zeros, empty strings and false. */
  inputs?: Record<string, { shape?: number[]; values: "zeros" | "random" | number[] | boolean[] | string[] }>;
};
