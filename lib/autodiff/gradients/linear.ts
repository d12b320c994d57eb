/** Gradients of matrix products. */

import type { Value } from "../../onnx/builder.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

/** Y = A'·B' + C, alpha and beta 1 (what Moiety builds). */
const gemm: GradientRule = (c) => {
  if (c.view.float("alpha", 1) !== 1 || c.view.float("beta", 1) !== 1)
    return c.view.fail("alpha and beta must be 1");
  const [a, b, g] = [c.input(0), c.input(1), c.gradient()];
  const transA = c.view.int("transA", 0);
  const transB = c.view.int("transB", 0);
  const product = (x: Value, transX: number, y: Value, transY: number) =>
    c.op("Gemm", [x, y], { transA: transX, transB: transY });
  return [
    !c.wants(0) ? undefined : transA ? product(b, transB, g, 1) : product(g, 0, b, 1 - transB),
    !c.wants(1) ? undefined : transB ? product(g, 1, a, transA) : product(a, 1 - transA, g, 0),
    c.wants(2) ? c.unbroadcast(g, c.input(2)) : undefined,
  ];
};

/** The last two axes exchanged; what was exchanged already is taken as it was before. */
function swapLast(c: GradientContext, x: Value): Value {
  return swappedFrom(c, x) ?? c.op("Transpose", [x], { perm: swapPerm(x) });
}

function swapPerm({ shape }: Value): number[] {
  const axes = shape.map((_, i) => i);
  const last = axes.length - 1;
  return [...axes.slice(0, -2), last, last - 1];
}

/** What `x` is the exchange of the last two axes of, if it is one. */
function swappedFrom(c: GradientContext, x: Value): Value | undefined {
  const maker = c.graph.nodes.findLast((node) => node.outputs.includes(x.name));
  const swaps = maker?.op === "Transpose" && String(maker.attributes.perm) === String(swapPerm(x));
  return swaps ? c.graph.valueOf(maker.inputs[0]!) : undefined;
}

/** A stack of matrices by one matrix is a single product of all their rows; so are both of its gradients. */
function matMulRows(c: GradientContext): (Value | undefined)[] {
  const [a, b, g] = [c.input(0), c.input(1), c.gradient()];
  const rows = c.known(a.shape.slice(0, -1)).reduce((product, size) => product * size, 1);
  const matrix = (x: Value) => c.reshape(x, [rows, x.shape.at(-1)!]);
  return [
    c.wants(0) ? c.reshape(c.op("Gemm", [matrix(g), b], { transB: 1 }), a.shape) : undefined,
    c.wants(1) ? c.op("Gemm", [matrix(a), matrix(g)], { transA: 1 }) : undefined,
  ];
}

const matMul: GradientRule = (c) => {
  const [a, b, g] = [c.input(0), c.input(1), c.gradient()];
  if (b.shape.length === 2) return matMulRows(c);
  return [
    c.wants(0) ? c.unbroadcast(c.op("MatMul", [g, swapLast(c, b)]), a) : undefined,
    c.wants(1) ? c.unbroadcast(secondGradient(c, a, b, g), b) : undefined,
  ];
};

/** Aᵀ·g; where B is itself exchanged, (gᵀ·A)ᵀ, whose exchange the way back undoes. */
function secondGradient(c: GradientContext, a: Value, b: Value, g: Value): Value {
  if (!swappedFrom(c, b)) return c.op("MatMul", [swapLast(c, a), g]);
  const product = c.op("MatMul", [swapLast(c, g), a]);
  return c.op("Transpose", [product], { perm: swapPerm(product) });
}

export const linear: Record<string, GradientRule> = { Gemm: gemm, MatMul: matMul };
