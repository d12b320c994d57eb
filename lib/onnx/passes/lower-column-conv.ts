/**
 * Writes every ColumnConv in ONNX's own operators. ColumnConv is Moiety's form of a convolution that is trained:
 * X [C, N, H, W], W [F, C/group, KH, KW], B [F] -> Y [F, N, OH, OW] and, on request, the im2col matrix
 * [C·KH·KW, N·OH·OW], which the gradient of the weights needs again. With the channels before the batch both are
 * single matrix products, without a transposition; groups are blocks of rows, so one batched product.
 *
 * Depthwise convolution (as many groups as channels) has too little arithmetic for its im2col matrix: it becomes a
 * Conv, with every plane of every image a channel of its own, which again needs no transposition.
 */

import type { GraphBuilder, Value } from "../builder.ts";
import type { Attributes, Node } from "../graph.ts";
import { ImageViews } from "../im2col.ts";
import { NodeView } from "../operators/rule.ts";
import { windowOf } from "../operators/window.ts";

const SWAP_BATCH_AND_CHANNELS = [1, 0, 2, 3];

export function lowerColumnConv(graph: GraphBuilder): void {
  for (const node of graph.nodes.splice(0)) {
    if (node.op === "ColumnConv") lower(graph, node);
    else graph.append(node);
  }
}

function lower(graph: GraphBuilder, node: Node): void {
  const [x, weight, bias] = graph.inputsOf(node) as [Value, Value, Value | undefined];
  const [, columnsName] = node.outputs as [string, string?];
  const view = new NodeView(node, [x, weight, bias], graph.initializers);
  const group = view.int("group", 1);
  if (group > 1 && weight.shape[1] === 1 && !columnsName) {
    if (weight.shape[0] === group) lowerPlanes(graph, node, x, weight, bias);
    else lowerMultiplied(graph, node, x, weight, bias);
  } else lowerColumns(graph, node, view, group);
}

function lowerColumns(graph: GraphBuilder, node: Node, view: NodeView, group: number): void {
  const [x, weight, bias] = graph.inputsOf(node) as [Value, Value, Value | undefined];
  const [y, columnsName] = node.outputs as [string, string?];
  const [filters, depth, ...kernel] = weight.shape as [number, number, number, number];
  const shape = graph.valueOf(y).shape as number[];
  const columns = new ImageViews(graph, x, windowOf(view, kernel)).columns(shape.slice(2));
  if (columnsName) named(graph, "Identity", [columns], columnsName);
  const rows = depth * kernel[0]! * kernel[1]!;
  if (group === 1) {
    const matrix = graph.op("Reshape", [weight, graph.ints([filters, rows])]);
    const addend = bias && graph.op("Reshape", [bias, graph.ints([filters, 1])]);
    const product = graph.op("Gemm", addend ? [matrix, columns, addend] : [matrix, columns]);
    named(graph, "Reshape", [product, graph.ints(shape)], y);
    return;
  }
  const blocks = graph.op("Reshape", [columns, graph.ints([group, rows, columns.shape[1] as number])]);
  const matrices = graph.op("Reshape", [weight, graph.ints([group, filters / group, rows])]);
  const product = graph.op("MatMul", [matrices, blocks]);
  const addend = bias && graph.op("Reshape", [bias, graph.ints([group, filters / group, 1])]);
  const sum = addend ? graph.op("Add", [product, addend]) : product;
  named(graph, "Reshape", [sum, graph.ints(shape)], y);
}

/** One filter for each channel: the planes [C·N, H, W] are the channels of one image, the kernels are repeated. */
function lowerPlanes(graph: GraphBuilder, node: Node, x: Value, weight: Value, bias?: Value): void {
  const [channels, batch, ...size] = x.shape as [number, number, number, number];
  const planes = channels * batch;
  const repeat = (value: Value, each: readonly number[]) => {
    const apart = graph.op("Reshape", [value, graph.ints([channels, 1, ...each])]);
    const repeated = graph.op("Expand", [apart, graph.ints([channels, batch, ...each])]);
    return graph.op("Reshape", [repeated, graph.ints([planes, ...each])]);
  };
  const image = graph.op("Reshape", [x, graph.ints([1, planes, ...size])]);
  const kernels = repeat(weight, weight.shape.slice(1) as number[]);
  const inputs = bias ? [image, kernels, repeat(bias, [])] : [image, kernels];
  const product = graph.op("Conv", inputs, { ...node.attributes, group: planes });
  const y = node.outputs[0]!;
  named(graph, "Reshape", [product, graph.ints(graph.valueOf(y).shape as number[])], y);
}

/** Several filters for each channel. */
function lowerMultiplied(graph: GraphBuilder, node: Node, x: Value, weight: Value, bias?: Value): void {
  const image = graph.op("Transpose", [x], { perm: SWAP_BATCH_AND_CHANNELS });
  const product = graph.op("Conv", bias ? [image, weight, bias] : [image, weight], node.attributes);
  named(graph, "Transpose", [product], node.outputs[0]!, { perm: SWAP_BATCH_AND_CHANNELS });
}

function named(
  graph: GraphBuilder,
  op: string,
  inputs: readonly Value[],
  output: string,
  attributes: Attributes = {},
): void {
  graph.append({
    name: `${op}:${output}`,
    op,
    domain: "",
    inputs: inputs.map(({ name }) => name),
    outputs: [output],
    attributes,
  });
}
