/** Gradients of pooling. */

import type { GradientRule } from "../gradient-rule.ts";

/**
 * Routes each output's gradient to the element that won. The forward node is asked for its indices (positions in
 * the flattened [N, C, ...] input). Windows that do not overlap use MaxUnpool; overlapping ones add up with
 * ScatterElements.
 */
const maxPool: GradientRule = (c) => {
  const kernel = c.view.ints("kernel_shape")!;
  const strides = c.view.ints("strides") ?? kernel.map(() => 1);
  const indices = c.graph.extraOutput(c.node, 1);
  const shape = c.known(c.input(0).shape);
  const apart = kernel.every((size, i) => strides[i]! >= size);
  const padded = (c.view.ints("pads") ?? []).some((pad) => pad !== 0);
  if (apart && !padded)
    return [
      c.op("MaxUnpool", [c.gradient(), indices, c.graph.ints(shape)], {
        kernel_shape: kernel,
        strides,
      }),
    ];
  const size = shape.reduce((a, b) => a * b, 1);
  const zero = c.op("Expand", [c.scalar(0), c.graph.ints([size])]);
  const flat = (value: typeof indices) => c.op("Reshape", [value, c.graph.ints([-1])]);
  const sums = c.op("ScatterElements", [zero, flat(indices), flat(c.gradient())], {
    axis: 0,
    reduction: "add",
  });
  return [c.reshape(sums, shape)];
};

export const pooling: Record<string, GradientRule> = { MaxPool: maxPool };
