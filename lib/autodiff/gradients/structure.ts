/** Gradients of operators that only move data: the way back. */

import type { GradientRule } from "../gradient-rule.ts";

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

/** Pads the gradient of a slice (steps of 1) back to the size it was cut from. */
const slice: GradientRule = (c) => {
  const x = c.input(0);
  const shape = c.known(x.shape);
  const starts = c.view.constant(1);
  const axes = c.has(3) ? c.view.constant(3) : starts.map((_, i) => i);
  if (c.has(4) && c.view.constant(4).some((step) => step !== 1))
    return c.view.fail("only steps of 1 are differentiated");
  const before = shape.map(() => 0);
  axes.forEach((given, i) => {
    const axis = c.view.axis(given, shape.length);
    const size = shape[axis]!;
    before[axis] = Math.min(Math.max(starts[i]! < 0 ? starts[i]! + size : starts[i]!, 0), size);
  });
  const cut = c.known(c.output().shape);
  const after = shape.map((size, axis) => size - before[axis]! - cut[axis]!);
  return [c.op("Pad", [c.gradient(), c.graph.ints([...before, ...after]), c.scalar(0)])];
};

/** Cuts off what padding with a constant added, and gives back zeros for what it cut off. */
const pad: GradientRule = (c) => {
  if (c.view.string("mode", "constant") !== "constant")
    return c.view.fail("only padding with a constant is differentiated");
  const back = c.graph.ints(c.view.constant(1).map((size) => -size));
  return [c.op("Pad", [c.gradient(), back, c.scalar(0), ...(c.has(3) ? [c.input(3)] : [])])];
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
  Pad: pad,
};
