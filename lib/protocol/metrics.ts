/**
 * Names of the metrics Moiety registers beside Moleculer's own. Labels are bounded: model, version, phase,
 * outcome, the nodes there are; never an id.
 */

export const METRICS = {
  "moiety.inference.request.total": {
    type: "counter",
    labels: ["model", "outcome"],
    description: "Predictions answered, by outcome (ok, or an error type)",
  },
  "moiety.inference.request.time": {
    type: "histogram",
    labels: ["model"],
    unit: "ms",
    description: "Time from acceptance to answer",
  },
  "moiety.inference.phase.time": {
    type: "histogram",
    labels: ["model", "version", "phase"],
    unit: "ms",
    description: "Time that predictions that were run spent waiting for a batch (queue) and in it (compute)",
  },
  "moiety.inference.queue.size": {
    type: "gauge",
    labels: ["model"],
    description: "Requests waiting for a batch",
  },
  "moiety.inference.batch.rows": {
    type: "histogram",
    labels: ["model"],
    description: "Rows per executed batch",
  },
  "moiety.inference.worker.restarts": {
    type: "counter",
    labels: [],
    description: "Inference workers replaced after a crash",
  },
  "moiety.cache.hits": {
    type: "counter",
    labels: ["tier", "model"],
    description: "Predictions answered from the cache",
  },
  "moiety.cache.misses": {
    type: "counter",
    labels: ["model"],
    description: "Predictions that no tier had",
  },
  "moiety.cache.bytes": {
    type: "gauge",
    labels: ["model"],
    description: "Memory that a model's cached predictions took when the last was kept",
  },
  "moiety.cache.errors": {
    type: "counter",
    labels: ["tier"],
    description: "Cache operations that failed; the prediction went on without",
  },
  "moiety.balance.calls": {
    type: "counter",
    labels: ["node", "outcome"],
    description: "Calls sent to each inference node that is there, by outcome (ok, or an error type)",
  },
  "moiety.balance.expected": {
    type: "gauge",
    labels: ["node"],
    unit: "ms",
    description: "Expected time to the answer of a request of one row, by which nodes are chosen",
  },
  "moiety.balance.avoided": {
    type: "gauge",
    labels: ["node", "reason"],
    description: "1 while a node gets no calls: silent, timeouts, slow or draining",
  },
  "moiety.model.loads": {
    type: "counter",
    labels: ["outcome"],
    description: "Model versions loaded, by outcome",
  },
  "moiety.model.load.time": {
    type: "histogram",
    labels: ["model"],
    unit: "ms",
    description: "Time to load and to warm a version that could be",
  },
  "moiety.rollout.canary.requests": {
    type: "counter",
    labels: ["model", "outcome"],
    description: "Requests given to a canary, by outcome (ok, or an error type)",
  },
  "moiety.rollout.shadow.requests": {
    type: "counter",
    labels: ["model", "outcome"],
    description: "Copies for a shadow: matched, differed, failed or dropped",
  },
  "moiety.rollout.rollbacks": {
    type: "counter",
    labels: ["model", "cause"],
    description: "Canaries this node gave up: errorRate, latency or load",
  },
  "moiety.training.jobs": {
    type: "counter",
    labels: ["outcome"],
    description: "Training jobs ended, by outcome",
  },
  "moiety.training.examples": { type: "counter", labels: [], description: "Examples trained on" },
  "moiety.accesslog.dropped": {
    type: "counter",
    labels: ["cause"],
    description: "Lines of the access log that were not written: slow (they came too fast) or failed",
  },
  "moiety.eventloop.delay.max": {
    type: "gauge",
    labels: [],
    unit: "ms",
    description: "Worst delay of the broker's event loop in the last interval",
  },
} as const satisfies Record<
  string,
  { type: "counter" | "gauge" | "histogram"; labels: readonly string[]; unit?: string; description: string }
>;

export type MetricName = keyof typeof METRICS;

/** The part of Moleculer's metric registry that lib code may use; a no-op one serves tests. */
export interface MetricSink {
  increment(name: MetricName, labels?: Record<string, string>, value?: number): void;
  set(name: MetricName, value: number, labels?: Record<string, string>): void;
  /** `times` observations of the same value. @default 1 */
  observe(name: MetricName, value: number, labels?: Record<string, string>, times?: number): void;
}
