/**
 * The metrics by which Triton's dashboards and autoscalers know a model: names, types, units and meaning as in Triton's
 * metrics documentation and its core, told from this node's statistics. Durations are cumulative microseconds. Metrics
 * of graphics processors, of memory pools and of Triton's own process have no counterpart here.
 */

import type { Duration, ModelStatistics } from "./statistics.ts";

export type TritonMetric = {
  type: "counter" | "gauge";
  /** Beside model and version. */
  labels: readonly string[];
  description: string;
  read: (statistics: ModelStatistics) => { value: number; labels?: Record<string, string> }[];
};

const FAILURE_REASONS = ["REJECTED", "CANCELED", "BACKEND", "OTHER"] as const;
type FailureReason = (typeof FAILURE_REASONS)[number];

/** Why a request failed, by the type of its error; others are OTHER. */
const REASON_OF: Readonly<Record<string, FailureReason>> = {
  QUEUE_FULL: "REJECTED",
  DEADLINE_EXCEEDED: "REJECTED",
  CANCELLED: "CANCELED",
  EXECUTION_FAILED: "BACKEND",
  WORKER_CRASHED: "BACKEND",
};

const NS_PER_US = 1000;
const MS_PER_SECOND = 1000;

export const TRITON_METRICS: Readonly<Record<string, TritonMetric>> = {
  nv_inference_request_success: counter(
    "Number of successful inference requests, all batch sizes",
    ({ success }) => success.count,
  ),
  nv_inference_request_failure: {
    type: "counter",
    labels: ["reason"],
    description: "Number of failed inference requests, all batch sizes",
    read: ({ failures }) => {
      const counts: Record<FailureReason, number> = { REJECTED: 0, CANCELED: 0, BACKEND: 0, OTHER: 0 };
      for (const [type, count] of Object.entries(failures)) counts[REASON_OF[type] ?? "OTHER"] += count;
      return FAILURE_REASONS.map((reason) => ({ value: counts[reason], labels: { reason } }));
    },
  },
  nv_inference_count: counter(
    "Number of inferences performed (does not include cached requests)",
    ({ inferenceCount }) => inferenceCount,
  ),
  nv_inference_exec_count: counter(
    "Number of model executions performed (does not include cached requests)",
    ({ executionCount }) => executionCount,
  ),
  nv_inference_request_duration_us: duration(
    "Cumulative inference request duration in microseconds (includes cached requests)",
    ({ success }) => success,
  ),
  nv_inference_queue_duration_us: duration(
    "Cumulative inference queuing duration in microseconds (includes cached requests)",
    ({ queue }) => queue,
  ),
  nv_inference_compute_input_duration_us: duration(
    "Cumulative compute input duration in microseconds (does not include cached requests)",
    ({ computeInput }) => computeInput,
  ),
  nv_inference_compute_infer_duration_us: duration(
    "Cumulative compute inference duration in microseconds (does not include cached requests)",
    ({ computeInfer }) => computeInfer,
  ),
  nv_inference_compute_output_duration_us: duration(
    "Cumulative inference compute output duration in microseconds (does not include cached requests)",
    ({ computeOutput }) => computeOutput,
  ),
  nv_inference_pending_request_count: gauge(
    "Instantaneous number of pending requests awaiting execution per-model",
    ({ pending }) => pending,
  ),
  nv_model_load_duration_secs: gauge("Model load time in seconds", ({ loadMs }) => loadMs / MS_PER_SECOND),
  nv_cache_num_hits_per_model: counter("Number of cache hits per model", ({ cacheHit }) => cacheHit.count),
  nv_cache_num_misses_per_model: counter(
    "Number of cache misses per model",
    ({ cacheMiss }) => cacheMiss.count,
  ),
  nv_cache_hit_duration_per_model: duration(
    "Total cache hit duration per model, in microseconds",
    ({ cacheHit }) => cacheHit,
  ),
};

function counter(description: string, of: (statistics: ModelStatistics) => number): TritonMetric {
  return {
    type: "counter",
    labels: [],
    description,
    read: (statistics) => [{ value: of(statistics) }],
  };
}

function gauge(description: string, of: (statistics: ModelStatistics) => number): TritonMetric {
  return { ...counter(description, of), type: "gauge" };
}

function duration(description: string, of: (statistics: ModelStatistics) => Duration): TritonMetric {
  return counter(description, (statistics) => Math.round(of(statistics).ns / NS_PER_US));
}
