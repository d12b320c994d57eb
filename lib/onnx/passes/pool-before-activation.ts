/**
 * Moves a rising activation, and then a convolution's bias, behind the max-pooling that is its only reader:
 * max(f(a), f(b)) = f(max(a, b)) and max(a + c, b + c) = max(a, b) + c, in floating point too. The values are the
 * same and the arithmetic, with its gradient, runs on a quarter of the elements for 2x2 windows.
 */

import type { GraphBuilder } from "../builder.ts";
import { Float, type Node } from "../graph.ts";

/** Operators that move behind a max-pooling. */
export const RISING: ReadonlySet<string> = new Set([
  "Relu",
  "Sigmoid",
  "Tanh",
  "Softplus",
  "Softsign",
  "Selu",
  "Elu",
  "LeakyRelu",
  "HardSigmoid",
  "Clip",
]);

/** Whether the activation never falls: those of the list do not, unless by a negative slope. */
function rises({ op, attributes: { alpha } }: Node): boolean {
  return RISING.has(op) && !(alpha instanceof Float && alpha.value < 0);
}

/** Rewrites the nodes of `graph` in place; `keep` names values that others will read. */
export function poolBeforeActivation(graph: GraphBuilder, keep: ReadonlySet<string>): void {
  const { nodes } = graph;
  const readers = new Map<string, number>();
  for (const node of nodes) for (const name of node.inputs) readers.set(name, (readers.get(name) ?? 0) + 1);

  for (const pool of [...nodes]) {
    if (pool.op !== "MaxPool" || pool.outputs.length > 1) continue;
    const between = pool.inputs[0]!;
    const activation = nodes.find((node) => node.outputs[0] === between);
    if (!activation || !rises(activation) || readers.get(between) !== 1 || keep.has(between)) continue;
    const pooled = graph.alias(graph.valueOf(pool.outputs[0]!), `${pool.outputs[0]}_raw`);
    activation.outputs = [pool.outputs[0]!];
    pool.inputs = [activation.inputs[0]!];
    pool.outputs = [pooled.name];
    activation.inputs = [pooled.name, ...activation.inputs.slice(1)];
    nodes.splice(nodes.indexOf(activation), 1);
    nodes.splice(nodes.indexOf(pool) + 1, 0, activation);
  }
  biasAfterPool(graph, readers, keep);
}

function biasAfterPool(
  graph: GraphBuilder,
  readers: ReadonlyMap<string, number>,
  keep: ReadonlySet<string>,
): void {
  const makers = new Map(graph.nodes.map((node) => [node.outputs[0]!, node]));
  for (const pool of graph.nodes.splice(0)) {
    const conv = pool.op === "MaxPool" && pool.outputs.length === 1 ? makers.get(pool.inputs[0]!) : undefined;
    const axis = conv?.op === "Conv" ? 1 : conv?.op === "ColumnConv" ? 0 : undefined;
    const bias = conv?.inputs[2];
    const moves =
      axis !== undefined && bias && readers.get(pool.inputs[0]!) === 1 && !keep.has(pool.inputs[0]!);
    if (!moves) {
      graph.append(pool);
      continue;
    }
    conv.inputs = conv.inputs.slice(0, 2);
    const [pooled] = pool.outputs as [string];
    const raw = graph.alias(graph.valueOf(pooled), `${pooled}_raw`);
    graph.append({ ...pool, outputs: [raw.name] });
    const shape = [1, 1, 1, 1].with(axis, -1);
    const addend = graph.op("Reshape", [graph.valueOf(bias), graph.ints(shape)]);
    graph.append({
      name: `Add:${pooled}`,
      op: "Add",
      domain: "",
      inputs: [raw.name, addend.name],
      outputs: [pooled],
      attributes: {},
    });
  }
}
