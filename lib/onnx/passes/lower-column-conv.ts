/**
 * Writes every ColumnConv in ONNX's own operators. ColumnConv is Moiety's form of a convolution that is trained:
 * X [C, N, H, W], W [F, C, KH, KW], B [F] -> Y [F, N, OH, OW] and, on request, the im2col matrix [C·KH·KW, N·OH·OW], which the
 * gradient of the weights needs again. With the channels before the batch both are single matrix products, without
 * a transposition.
 */

import type { GraphBuilder, Value } from "../builder.ts";
import type { Node } from "../graph.ts";
import { ImageViews } from "../im2col.ts";
import { NodeView } from "../operators/rule.ts";
import { windowOf } from "../operators/window.ts";

export function lowerColumnConv(graph: GraphBuilder): void {
  for (const node of graph.nodes.splice(0)) {
    if (node.op === "ColumnConv") lower(graph, node);
    else graph.append(node);
  }
}

function lower(graph: GraphBuilder, node: Node): void {
  const [x, weight, bias] = graph.inputsOf(node) as [Value, Value, Value | undefined];
  const [y, columnsName] = node.outputs as [string, string?];
  const [filters, channels, ...kernel] = weight.shape as [number, number, number, number];
  const shape = graph.valueOf(y).shape as number[];
  const window = windowOf(new NodeView(node, [x, weight, bias], graph.initializers), kernel);
  const columns = new ImageViews(graph, x, window).columns(shape.slice(2));
  const matrix = graph.op("Reshape", [weight, graph.ints([filters, channels * kernel[0]! * kernel[1]!])]);
  const addend = bias && graph.op("Reshape", [bias, graph.ints([filters, 1])]);
  const product = graph.op("Gemm", addend ? [matrix, columns, addend] : [matrix, columns]);
  const named = (op: string, inputs: Value[], output: string) =>
    graph.append({
      name: `${op}:${output}`,
      op,
      domain: "",
      inputs: inputs.map(({ name }) => name),
      outputs: [output],
      attributes: {},
    });
  if (columnsName) named("Identity", [columns], columnsName);
  named("Reshape", [product, graph.ints(shape)], y);
}
