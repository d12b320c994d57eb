/**
 * Stops computing what no output depends on. A pooling with floored sizes ignores the last row of an odd input; the
 * convolution before it then need not compute that row, nor read the pixels only that row needs, and so on back to
 * the image. How far along its spatial axes each value [·, ·, H, W] is really read is found from the outputs back;
 * values that do not shrink by themselves (images, reshaped inputs) are cut. Results and gradients stay the same; of
 * the two convolutions with 2x2 poolings that MNIST is usually met with, a sixth of the arithmetic goes.
 */

import type { GraphBuilder } from "../builder.ts";
import type { Node } from "../graph.ts";
import { NodeView } from "../operators/rule.ts";
import { windowOf } from "../operators/window.ts";

/** Rows and columns. */
type Extent = readonly [number, number];

/** Operators that give element (h, w) from the elements (h, w) of their inputs. */
const POINTWISE = new Set(
  (
    "Identity Neg Abs Exp Log Sqrt Reciprocal Relu Sigmoid Tanh Softplus Softsign Erf Sign Clip LeakyRelu Elu Selu " +
    "HardSigmoid Cast Add Sub Mul Div Pow Sum Max Min Where"
  ).split(" "),
);

/** Rewrites the nodes of `graph` in place; the values named in `keep` are computed whole. */
export function trimBorders(graph: GraphBuilder, keep: ReadonlySet<string>): void {
  const read = extentsRead(graph, keep);
  const shrinks = (name: string): boolean => {
    const [extent, size] = [read.get(name), sizeOf(graph, name)];
    return !!extent && !!size && (extent[0] < size[0] || extent[1] < size[1]);
  };
  // A cut costs a copy: worth it where a convolution gets smaller.
  if (!graph.nodes.some((node) => isConvolution(node) && shrinks(node.outputs[0]!))) return;

  const cuts = new Map<string, string>();
  for (const node of graph.nodes.splice(0)) {
    const out = isSpatial(graph, node) ? read.get(node.outputs[0]!) : undefined;
    if (!out) {
      graph.append(node);
      continue;
    }
    const window = windowNeeds(graph, node, out);
    const inputs = node.inputs.map((name, i) => {
      const size = name === "" ? undefined : sizeOf(graph, name);
      if (!size || (window && i > 0)) return name;
      const need = window?.need ?? pointwiseNeed(out, size);
      return size[0] === need[0] && size[1] === need[1] ? name : cut(graph, cuts, name, need);
    });
    graph.append({ ...node, inputs, attributes: window?.attributes ?? node.attributes });
  }
}

/** How much of each spatial value its readers read; values without an entry have no spatial reader. */
function extentsRead(graph: GraphBuilder, keep: ReadonlySet<string>): Map<string, Extent> {
  const read = new Map<string, Extent>();
  const demand = (name: string, [h, w]: Extent) => {
    const known = read.get(name);
    read.set(name, known ? [Math.max(known[0], h), Math.max(known[1], w)] : [h, w]);
  };
  for (const node of graph.nodes.toReversed()) {
    const spatial = isSpatial(graph, node);
    for (const name of node.outputs) {
      const size = sizeOf(graph, name);
      if (size && (keep.has(name) || !read.has(name) || !spatial)) demand(name, size);
    }
    const out = spatial ? read.get(node.outputs[0]!) : undefined;
    const window = out && windowNeeds(graph, node, out);
    for (const [i, name] of node.inputs.entries()) {
      const size = name === "" ? undefined : sizeOf(graph, name);
      if (!size) continue;
      if (!out || (window && i > 0)) demand(name, size);
      else demand(name, window?.need ?? pointwiseNeed(out, size));
    }
  }
  return read;
}

function isConvolution(node: Node): boolean {
  return node.op === "Conv" || node.op === "ColumnConv";
}

/** A node whose output's extent follows from its inputs' and can be made smaller. */
function isSpatial(graph: GraphBuilder, node: Node): boolean {
  const size = sizeOf(graph, node.outputs[0]!);
  if (!size) return false;
  if (isConvolution(node)) return true;
  if (node.outputs.length > 1) return false;
  if (node.op === "MaxPool" || node.op === "AveragePool")
    return (
      ((node.attributes.pads as number[] | undefined) ?? []).every((pad) => pad === 0) &&
      (node.attributes.ceil_mode ?? 0) === 0
    );
  if (!POINTWISE.has(node.op)) return false;
  // An operand of lower rank may lie along the spatial axes too; then it would have to be cut as well.
  return graph
    .inputsOf(node)
    .every((value) => !value || value.shape.length === 4 || value.shape.length === 0);
}

/** What a window operator reads of its first input to give `out`, and its attributes for that. */
function windowNeeds(
  graph: GraphBuilder,
  node: Node,
  out: Extent,
): { need: Extent; attributes: Node["attributes"] } | undefined {
  if (POINTWISE.has(node.op)) return undefined;
  const view = new NodeView(node, graph.inputsOf(node), graph.initializers);
  const kernel = isConvolution(node)
    ? (view.input(1).shape.slice(2) as number[])
    : view.ints("kernel_shape")!;
  const { strides, dilations, pads } = windowOf(view, kernel);
  const size = sizeOf(graph, node.inputs[0]!)!;
  const last = [0, 1].map(
    (i) => (out[i]! - 1) * strides[i]! + dilations[i]! * (kernel[i]! - 1) + 1 - pads[i]!,
  );
  const need = [0, 1].map((i) => Math.min(size[i]!, Math.max(1, last[i]!))) as [number, number];
  if (!isConvolution(node)) return { need, attributes: node.attributes };
  const after = [0, 1].map((i) => Math.min(pads[i + 2]!, Math.max(0, last[i]! - size[i]!)));
  return { need, attributes: { ...node.attributes, pads: [pads[0]!, pads[1]!, ...after] } };
}

/** Broadcast axes stay as they are. */
function pointwiseNeed(out: Extent, size: Extent): Extent {
  return [Math.min(out[0], size[0]), Math.min(out[1], size[1])];
}

function cut(graph: GraphBuilder, cuts: Map<string, string>, name: string, [h, w]: Extent): string {
  const key = `${name} ${h} ${w}`;
  let made = cuts.get(key);
  if (made === undefined) {
    const bounds = [graph.ints([0, 0]), graph.ints([h, w]), graph.ints([2, 3])];
    made = graph.op("Slice", [graph.valueOf(name), ...bounds]).name;
    cuts.set(key, made);
  }
  return made;
}

/** Spatial sizes of a value [N, C, H, W]; undefined for others. */
function sizeOf(graph: GraphBuilder, name: string): Extent | undefined {
  const shape = name === "" ? [] : graph.valueOf(name).shape;
  const [h, w] = shape.slice(2);
  return shape.length === 4 && typeof h === "number" && typeof w === "number" ? [h, w] : undefined;
}
