/**
 * x·W + b along the last axis. Where all sizes are known (training graphs) a sequence is taken as a matrix of all its
 * rows: its gradients are then single products over all rows too.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { reshapeTo } from "../layer.ts";

/** `x` [..., in] by `kernel` [in, out], plus `bias` [out]: [..., out]. */
export function affine(graph: GraphBuilder, x: Value, kernel: Value, bias?: Value): Value {
  if (x.shape.length === 2) return graph.op("Gemm", bias ? [x, kernel, bias] : [x, kernel]);
  const rows = asRows(graph, x);
  const product = graph.op(rows.shape.length === 2 ? "Gemm" : "MatMul", [rows, kernel]);
  // Gemm would first copy the bias to every row, on one thread.
  const sum = bias ? graph.op("Add", [product, bias]) : product;
  return rows === x ? sum : reshapeTo(graph, sum, [...x.shape.slice(0, -1), kernel.shape[1]!]);
}

/** [rows, size] where every size is known, else `x` as it is. */
function asRows(graph: GraphBuilder, x: Value): Value {
  if (x.shape.length === 2 || x.shape.some((size) => typeof size !== "number")) return x;
  return graph.op("Reshape", [x, graph.ints([-1, x.shape.at(-1) as number])]);
}
