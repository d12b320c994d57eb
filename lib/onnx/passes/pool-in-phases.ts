/**
 * Computes a convolution that is pooled 2x2, and whose input is not trained, as four convolutions: one per position
 * in the pooling's window, each a matrix product over every other row and column of the image. The pooling is then a
 * maximum of four tensors and its gradient a choice between them, element by element, where both would otherwise
 * have to pick pixels apart and put them together again. A first layer is where this applies; deeper ones need the
 * gradient of their input, for which the pixels must lie as in the image.
 *
 * Of the left and the right product a and b the second is never made: a + max(b - a, 0) takes b - a from the few
 * differences of the columns, and what is left of it says where b won. Values are those of the maximum but for rounding.
 */

import type { GraphBuilder, Value } from "../builder.ts";
import type { Node } from "../graph.ts";
import { ImageViews } from "../im2col.ts";
import { NodeView } from "../operators/rule.ts";
import { windowOf } from "../operators/window.ts";

/** Rewrites ColumnConv → MaxPool in `graph`; `trained` names the weights. Values in `keep` are left alone. */
export function poolInPhases(
  graph: GraphBuilder,
  trained: ReadonlySet<string>,
  keep: ReadonlySet<string>,
): void {
  const dependent = new Set(trained);
  const readers = new Map<string, number>();
  for (const node of graph.nodes) {
    for (const name of node.inputs) readers.set(name, (readers.get(name) ?? 0) + 1);
    if (node.inputs.some((name) => dependent.has(name))) for (const name of node.outputs) dependent.add(name);
  }
  const makers = new Map(graph.nodes.map((node) => [node.outputs[0]!, node]));
  const pools = new Map<Node, Node>();
  for (const pool of graph.nodes) {
    const conv = makers.get(pool.inputs[0]!);
    if (conv?.op !== "ColumnConv" || conv.inputs.length > 2) continue;
    if ((conv.attributes.group ?? 1) !== 1) continue;
    const alone = readers.get(pool.inputs[0]!) === 1 && !keep.has(pool.inputs[0]!);
    if (alone && !dependent.has(conv.inputs[0]!) && isPlainPair(graph, pool)) pools.set(conv, pool);
  }
  const rewritten = new Set(pools.values());
  for (const node of graph.nodes.splice(0)) {
    const pool = pools.get(node);
    if (pool) appendPhases(graph, node, pool.outputs[0]!);
    else if (!rewritten.has(node)) graph.append(node);
  }
}

/** Windows of 2x2 side by side that cover their input. */
function isPlainPair(graph: GraphBuilder, pool: Node): boolean {
  if (pool.op !== "MaxPool" || pool.outputs.length > 1) return false;
  const view = new NodeView(pool, graph.inputsOf(pool), graph.initializers);
  const { kernel, strides, dilations, pads } = windowOf(view, view.ints("kernel_shape")!);
  const even = view
    .input(0)
    .shape.slice(2)
    .every((size) => Number(size) % 2 === 0);
  return (
    even &&
    kernel.join() === "2,2" &&
    strides.join() === "2,2" &&
    dilations.join() === "1,1" &&
    pads.every((p) => p === 0)
  );
}

function appendPhases(graph: GraphBuilder, conv: Node, pooled: string): void {
  const [x, weight] = graph.inputsOf(conv) as [Value, Value];
  const [filters, channels, ...kernel] = weight.shape as [number, number, number, number];
  const window = windowOf(new NodeView(conv, [x, weight], graph.initializers), kernel);
  const shape = graph.valueOf(pooled).shape as number[];
  const matrix = graph.op("Reshape", [weight, graph.ints([filters, channels * kernel[0]! * kernel[1]!])]);
  const views = new ImageViews(graph, x, window);
  /** The larger of the left and the right phase: left + max(right - left, 0). */
  const larger = (row: number): Value => {
    const at = [shape.slice(2), [row, 0], 2] as const;
    const more = graph.op("Relu", [graph.op("Gemm", [matrix, views.differences(...at)])]);
    return graph.op("Gemm", [matrix, views.columns(...at), more]);
  };
  const best = graph.op("Max", [larger(0), larger(1)]);
  graph.append({
    name: `Reshape:${pooled}`,
    op: "Reshape",
    domain: "",
    inputs: [best.name, graph.ints(shape).name],
    outputs: [pooled],
    attributes: {},
  });
}
