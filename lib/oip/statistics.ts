/**
 * Open Inference Protocol v2, statistics extension: what versions have done, as Triton prints it. Nodes are added up,
 * so a client sees the cluster as one server.
 */

import type { BatchStatistics, Duration, ModelStatistics } from "../protocol/statistics.ts";

type Totals = Omit<ModelStatistics, "model" | "version" | "nodeID">;

const DURATIONS = [
  ["success", "success"],
  ["fail", "fail"],
  ["queue", "queue"],
  ["compute_input", "computeInput"],
  ["compute_infer", "computeInfer"],
  ["compute_output", "computeOutput"],
  ["cache_hit", "cacheHit"],
  ["cache_miss", "cacheMiss"],
] as const;

export type OipStatistics = { model_stats: OipModelStatistics[] };

export type OipModelStatistics = {
  name: string;
  version: string;
  /** Epoch ms. */
  last_inference: number;
  inference_count: number;
  execution_count: number;
  inference_stats: Record<(typeof DURATIONS)[number][0], Duration>;
  response_stats: Record<string, never>;
  batch_stats: {
    batch_size: number;
    compute_input: Duration;
    compute_infer: Duration;
    compute_output: Duration;
  }[];
  memory_usage: never[];
};

/** @param all of every node, in any order */
export function statisticsAnswer(all: readonly ModelStatistics[]): OipStatistics {
  const byVersion = Map.groupBy(all, ({ model, version }) => JSON.stringify([model, version]));
  const stats = [...byVersion.values()].map((nodes): OipModelStatistics => {
    const { model, version } = nodes[0]!;
    return { name: model, version, ...totals(nodes) };
  });
  stats.sort((a, b) =>
    a.name === b.name ? Number(a.version) - Number(b.version) : a.name < b.name ? -1 : 1,
  );
  return { model_stats: stats };
}

function totals(nodes: readonly Totals[]): Omit<OipModelStatistics, "name" | "version"> {
  const batches = Map.groupBy(
    nodes.flatMap((node) => node.batches),
    ({ batchSize }) => batchSize,
  );
  const durations = DURATIONS.map(([name, of]) => [name, sum(nodes.map((node) => node[of]))]);
  return {
    last_inference: Math.max(...nodes.map((node) => node.lastInference)),
    inference_count: nodes.reduce((count, node) => count + node.inferenceCount, 0),
    execution_count: nodes.reduce((count, node) => count + node.executionCount, 0),
    inference_stats: Object.fromEntries(durations) as OipModelStatistics["inference_stats"],
    response_stats: {},
    batch_stats: [...batches.entries()]
      .sort(([a], [b]) => a - b)
      .map(([batch_size, of]) => ({ batch_size, ...computing(of) })),
    memory_usage: [],
  };
}

function computing(of: readonly BatchStatistics[]) {
  return {
    compute_input: sum(of.map(({ computeInput }) => computeInput)),
    compute_infer: sum(of.map(({ computeInfer }) => computeInfer)),
    compute_output: sum(of.map(({ computeOutput }) => computeOutput)),
  };
}

function sum(durations: readonly Duration[]): Duration {
  return durations.reduce((a, b) => ({ count: a.count + b.count, ns: a.ns + b.ns }), { count: 0, ns: 0 });
}
