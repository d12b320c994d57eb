/** Convolution and pooling in phases against the same graph as declared: values, gradients, and who wins a tie. */

import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { GraphBuilder } from "../builder.ts";
import type { Attributes } from "../graph.ts";
import { poolInPhases } from "./pool-in-phases.ts";

type Shape = { image: number[]; kernel: number[]; attributes: Attributes };

const SHAPES: Shape[] = [
  { image: [1, 3, 10, 12], kernel: [3, 3], attributes: {} },
  { image: [2, 2, 9, 9], kernel: [2, 2], attributes: {} },
  { image: [3, 2, 8, 8], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1] } },
  { image: [1, 2, 17, 13], kernel: [3, 1], attributes: { strides: [2, 3], pads: [0, 2, 0, 2] } },
  { image: [2, 1, 12, 12], kernel: [3, 3], attributes: { dilations: [2, 2] } },
  // Too wide for columns to be picked by a product.
  { image: [2, 1, 6, 70], kernel: [3, 3], attributes: { pads: [1, 1, 1, 1] } },
];

function build({ image, kernel, attributes }: Shape, phases: boolean, trainImage = false) {
  const graph = new GraphBuilder("pooled");
  const x = graph.input("x", "FP32", image);
  const weight = graph.input("w", "FP32", [4, image[0]!, ...kernel]);
  const y = graph.op("ColumnConv", [x, weight], { kernel_shape: kernel, ...attributes });
  const pooled = graph.op("MaxPool", [y], { kernel_shape: [2, 2], strides: [2, 2] });
  const shape = pooled.shape as number[];
  const mask = graph.initializer("c", { datatype: "FP32", shape, data: normals("c", shape) });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [pooled, mask])], { keepdims: 0 });
  const trained = trainImage ? [x.name, weight.name] : [weight.name];
  if (phases) poolInPhases(graph, new Set(trained), new Set([loss.name]));
  const pools = graph.nodes.filter(({ op }) => op === "MaxPool").length;
  const [gradient] = gradients(graph, loss, [weight]);
  graph.output(pooled, "pooled");
  graph.output(gradient!, "dw");
  return { graph, pools };
}

describe("pooling in phases", () => {
  test.each(SHAPES)("gives the values and gradients of $image by $kernel $attributes", async (shape) => {
    const [declared, rewritten] = [build(shape, false), build(shape, true)];
    const feeds = {
      x: { shape: shape.image, data: normals("x", shape.image) },
      w: {
        shape: [4, shape.image[0]!, ...shape.kernel],
        data: normals("w", [4, shape.image[0]!, ...shape.kernel]),
      },
    };
    const [expected, received] = [
      await runOnce(declared.graph, feeds),
      await runOnce(rewritten.graph, feeds),
    ];
    expect(received.pooled!.shape).toEqual(expected.pooled!.shape);
    // The same products in another order of summation.
    for (const name of ["pooled", "dw"])
      expect(
        worstError(received[name]!.data as Float32Array, expected[name]!.data as Float32Array),
      ).toBeLessThan(1e-5);
  });

  test("rewrites where windows cover their input, and nowhere else", () => {
    const even = SHAPES[0]!;
    expect(build(even, true).pools).toBe(0);
    expect(build({ ...even, image: [1, 3, 11, 12] }, true).pools).toBe(1);
    expect(build(even, true, true).pools).toBe(1);
  });

  test("of equal elements the first in reading order gets the gradient", async () => {
    // A flat image: every window is a tie, and the gradient is that of the first pixel under each window.
    const graph = new GraphBuilder("ties");
    const x = graph.input("x", "FP32", [1, 1, 4, 4]);
    const weight = graph.input("w", "FP32", [1, 1, 1, 1]);
    const y = graph.op("ColumnConv", [x, weight], { kernel_shape: [1, 1] });
    const pooled = graph.op("MaxPool", [y], { kernel_shape: [2, 2], strides: [2, 2] });
    const loss = graph.op("ReduceSum", [pooled], { keepdims: 0 });
    poolInPhases(graph, new Set([weight.name]), new Set([loss.name]));
    graph.output(gradients(graph, loss, [weight])[0]!, "dw");
    // With a weight of zero all products tie whatever the pixels are, so the sum tells which pixels were chosen.
    const pixels = Float32Array.from({ length: 16 }, (_, i) => i);
    const { dw } = await runOnce(graph, {
      x: { shape: [1, 1, 4, 4], data: pixels },
      w: { shape: [1, 1, 1, 1], data: Float32Array.of(0) },
    });
    expect(dw!.data[0]).toBe(0 + 2 + 8 + 10);
  });
});
