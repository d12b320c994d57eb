/**
 * Moves a rising activation behind the max-pooling that is its only reader: max(f(a), f(b)) = f(max(a, b)), so
 * the values are the same and f, with its gradient, runs on a quarter of the elements for 2x2 windows.
 */

import type { GraphBuilder } from "../builder.ts";

const RISING = new Set(["Relu", "Sigmoid", "Tanh", "Softplus"]);

/** Rewrites the nodes of `graph` in place; `keep` names values that others will read. */
export function poolBeforeActivation(graph: GraphBuilder, keep: ReadonlySet<string>): void {
  const { nodes } = graph;
  const readers = new Map<string, number>();
  for (const node of nodes) for (const name of node.inputs) readers.set(name, (readers.get(name) ?? 0) + 1);

  for (const pool of [...nodes]) {
    if (pool.op !== "MaxPool" || pool.outputs.length > 1) continue;
    const between = pool.inputs[0]!;
    const activation = nodes.find((node) => node.outputs[0] === between);
    if (!activation || !RISING.has(activation.op) || readers.get(between) !== 1 || keep.has(between))
      continue;
    const pooled = graph.alias(graph.valueOf(pool.outputs[0]!), `${pool.outputs[0]}_raw`);
    activation.outputs = [pool.outputs[0]!];
    pool.inputs = [activation.inputs[0]!];
    pool.outputs = [pooled.name];
    activation.inputs = [pooled.name];
    nodes.splice(nodes.indexOf(activation), 1);
    nodes.splice(nodes.indexOf(pool) + 1, 0, activation);
  }
}
