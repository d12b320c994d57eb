/**
 * x·W + b along the last axis, as one matrix product with its addend wherever all sizes are known (training graphs):
 * its gradients are then single products over all rows too. Served graphs, whose batch varies, get the same numbers
 * from a product and a sum.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { reshapeTo } from "../layer.ts";

/** `x` [..., in] by `kernel` [in, out], plus `bias` [out]: [..., out]. */
export function affine(graph: GraphBuilder, x: Value, kernel: Value, bias?: Value): Value {
  const rows = asRows(graph, x);
  if (rows.shape.length === 2) {
    const product = graph.op("Gemm", bias ? [rows, kernel, bias] : [rows, kernel]);
    return x.shape.length === 2
      ? product
      : reshapeTo(graph, product, [...x.shape.slice(0, -1), kernel.shape[1]!]);
  }
  const product = graph.op("MatMul", [rows, kernel]);
  return bias ? graph.op("Add", [product, bias]) : product;
}

/** [rows, size] where every size is known, else `x` as it is. */
function asRows(graph: GraphBuilder, x: Value): Value {
  if (x.shape.length === 2 || x.shape.some((size) => typeof size !== "number")) return x;
  return graph.op("Reshape", [x, graph.ints([-1, x.shape.at(-1) as number])]);
}
