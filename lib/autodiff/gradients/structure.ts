/** Gradients of operators that only move data: the way back. */

import type { Value } from "../../onnx/builder.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const reshape: GradientRule = (c) => [c.reshape(c.gradient(), c.input(0).shape)];

const transpose: GradientRule = (c) => {
  const rank = c.input(0).shape.length;
  const perm = c.view.ints("perm") ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  return [c.op("Transpose", [c.gradient()], { perm: perm.map((_, axis) => perm.indexOf(axis)) })];
};

const concat: GradientRule = (c) => {
  const axis = c.view.axis(c.view.int("axis", 0), c.output().shape.length);
  const sizes = c.known(c.view.inputs.map((x) => x.shape[axis]!));
  return c.graph.ops("Split", [c.gradient(), c.graph.ints(sizes)], sizes.length, { axis });
};

const split: GradientRule = (c) => {
  const parts = c.node.outputs.map((_, i) =>
    c.hasGradient(i)
      ? c.gradient(i)
      : c.op("Expand", [c.scalar(0), c.graph.ints(c.known(c.output(i).shape))]),
  );
  return [c.op("Concat", parts, { axis: c.view.int("axis", 0) })];
};

const expand: GradientRule = (c) => [c.unbroadcast(c.gradient(), c.input(0))];

/** Pads the gradient of a slice back to the size it was cut from, turned back where the steps are -1. */
const slice: GradientRule = (c) => {
  const x = c.input(0);
  const shape = c.known(x.shape);
  const starts = c.view.constant(1);
  const axes = (c.has(3) ? c.view.constant(3) : starts.map((_, i) => i)).map((axis) =>
    c.view.axis(axis, shape.length),
  );
  const steps = c.has(4) ? c.view.constant(4) : starts.map(() => 1);
  if (steps.some((step) => step !== 1 && step !== -1))
    return c.view.fail("only steps of 1 and -1 are differentiated");
  const cut = c.known(c.output().shape);
  const before = shape.map(() => 0);
  axes.forEach((axis, i) => {
    const size = shape[axis]!;
    const start = starts[i]! < 0 ? starts[i]! + size : starts[i]!;
    before[axis] =
      steps[i] === 1 ? Math.min(Math.max(start, 0), size) : Math.min(start, size - 1) - cut[axis]! + 1;
  });
  const after = shape.map((size, axis) => size - before[axis]! - cut[axis]!);
  const backwards = axes.filter((_, i) => steps[i] === -1);
  const gradient = backwards.length > 0 ? turned(c, c.gradient(), backwards) : c.gradient();
  if ([...before, ...after].every((size) => size === 0)) return [gradient];
  return [c.op("Pad", [gradient, c.graph.ints([...before, ...after]), c.scalar(0)])];
};

/** The elements along `axes` from the last to the first. */
function turned(c: GradientContext, value: Value, axes: readonly number[]): Value {
  const every = (of: (axis: number) => number) => c.graph.ints(axes.map(of));
  const ends = every((axis) => -c.known(value.shape)[axis]! - 1);
  return c.op("Slice", [value, every(() => -1), ends, c.graph.ints(axes), every(() => -1)]);
}

/** Cuts off what padding with a constant added, and gives back zeros for what it cut off. */
const pad: GradientRule = (c) => {
  if (c.view.string("mode", "constant") !== "constant")
    return c.view.fail("only padding with a constant is differentiated");
  const rank = c.input(0).shape.length;
  const axes = (c.has(3) ? c.view.constant(3) : c.input(0).shape.map((_, axis) => axis)).map((axis) =>
    c.view.axis(axis, rank),
  );
  // For every axis: ONNX Runtime 1.30 moves transpositions past a Pad as if it named no axes.
  const back = new Array<number>(2 * rank).fill(0);
  c.view.constant(1).forEach((size, i) => {
    back[i < axes.length ? axes[i]! : rank + axes[i - axes.length]!] = 0 - size;
  });
  return [c.op("Pad", [c.gradient(), c.graph.ints(back), c.scalar(0)])];
};

/**
 * Rows picked by index: their gradients are summed where they come from. ScatterND does the same in a quarter of the
 * time and loses sums: ONNX Runtime's threads add to one row at once.
 */
const gather: GradientRule = (c) => {
  const [table, indices, g] = [c.input(0), c.input(1), c.gradient()];
  if (c.view.axis(c.view.int("axis", 0), table.shape.length) !== 0)
    return c.view.fail("only rows are differentiated");
  const [rows, ...rest] = c.known(table.shape) as [number, ...number[]];
  const size = rest.reduce((a, b) => a * b, 1);
  const count = c.known(indices.shape).reduce((a, b) => a * b, 1);
  const spread = c.op("Expand", [c.reshape(indices, [count, 1]), c.graph.ints([count, size])]);
  const zeros = c.op("Expand", [c.scalar(0), c.graph.ints([rows, size])]);
  const sums = c.op("ScatterElements", [zeros, spread, c.reshape(g, [count, size])], {
    axis: 0,
    reduction: "add",
  });
  return [c.reshape(sums, table.shape)];
};

export const structure: Record<string, GradientRule> = {
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Expand: expand,
  Slice: slice,
  Gather: gather,
  Pad: pad,
};
