/**
 * What a model version has done on one node since it was loaded there, in the terms of the statistics extension of
 * the Open Inference Protocol.
 */

/** How often, and how long in all. */
export type Duration = { count: number; ns: number };

/** Of a run, in ms: making the runtime's inputs, the run itself, and reading its outputs. */
export type RunTimes = { inputMs: number; inferMs: number; outputMs: number };

export type BatchStatistics = {
  batchSize: number;
  computeInput: Duration;
  computeInfer: Duration;
  computeOutput: Duration;
};

export type ModelStatistics = {
  model: string;
  version: string;
  nodeID: string;
  /** Requests waiting for a batch now. */
  pending: number;
  /** How long the version took to load and to warm. */
  loadMs: number;
  /** How many requests failed, by the type of their error. */
  failures: Record<string, number>;
  /** Epoch ms of the last prediction that was run; 0: none yet. */
  lastInference: number;
  /** Rows that were run, one by one or in batches; answers from the cache do not count. */
  inferenceCount: number;
  /** Runs. */
  executionCount: number;
  /** Requests answered well and with an error, from arrival to answer, those from the cache among them. */
  success: Duration;
  fail: Duration;
  /** Waiting for a batch. */
  queue: Duration;
  /** Counted per request, each with the whole time of the batch it was in. */
  computeInput: Duration;
  computeInfer: Duration;
  computeOutput: Duration;
  cacheHit: Duration;
  cacheMiss: Duration;
  batches: BatchStatistics[];
};
