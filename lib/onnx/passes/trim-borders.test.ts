/** Trimming against the untrimmed graph: the same values, the same gradients, smaller convolutions. */

import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { RandomStream } from "../../random/stream.ts";
import { GraphBuilder, type Value } from "../builder.ts";
import { trimBorders } from "./trim-borders.ts";

type Step =
  | { op: "conv"; kernel: number[]; strides: number[]; dilations: number[]; pads: number[] }
  | { op: "pool"; kernel: number[]; strides: number[] }
  | { op: "relu" }
  | { op: "residual" };

const random = RandomStream.named(11, "trim");
const draw = (low: number, high: number) => low + random.below(high - low + 1);
const pair = (low: number, high: number) => [draw(low, high), draw(low, high)];

function drawSteps(): Step[] {
  const conv = (): Step => {
    const kernel = pair(1, 3);
    return {
      op: "conv",
      kernel,
      strides: pair(1, 2),
      dilations: [1, draw(1, 2)],
      pads: [...pair(0, 1), ...pair(0, 1)],
    };
  };
  const pool = (): Step => ({ op: "pool", kernel: [2, 2], strides: pair(2, 3) });
  return [
    conv(),
    { op: "relu" },
    ...(draw(0, 1) ? [{ op: "residual" } as Step] : []),
    pool(),
    conv(),
    pool(),
  ];
}

/** Σ c·y of the chain, its output, and the gradients of its weights. */
function build(steps: readonly Step[], size: readonly number[], trim: boolean) {
  const graph = new GraphBuilder("chain");
  const channels = 2;
  const image = graph.input("image", "FP32", [2, channels, ...size]);
  const weights: Value[] = [];
  let y: Value = graph.op("Reshape", [image, graph.ints([2, channels, ...size])]);
  for (const step of steps) {
    if (step.op === "relu") y = graph.op("Relu", [y]);
    else if (step.op === "residual") y = graph.op("Add", [y, graph.op("Tanh", [y])]);
    else if (step.op === "pool")
      y = graph.op("MaxPool", [y], { kernel_shape: step.kernel, strides: step.strides });
    else {
      const weight = graph.input(`w${weights.length}`, "FP32", [channels, channels, ...step.kernel]);
      weights.push(weight);
      const { kernel, strides, dilations, pads } = step;
      y = graph.op("Conv", [y, weight], { kernel_shape: kernel, strides, dilations, pads });
    }
  }
  const shape = y.shape as number[];
  const mask = graph.initializer("c", { datatype: "FP32", shape, data: normals("c", shape) });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [y, mask])], { keepdims: 0 });
  if (trim) trimBorders(graph, new Set([y.name]));
  const sizes = graph.nodes
    .filter(({ op }) => op === "Conv")
    .map(({ outputs }) => graph.valueOf(outputs[0]!).shape);
  const found = gradients(graph, loss, weights);
  graph.output(y, "y");
  found.forEach((gradient, i) => {
    graph.output(gradient, `d${i}`);
  });
  return { graph, weights, sizes };
}

describe("trimBorders", () => {
  test("leaves values and gradients of generated chains as they were", async () => {
    let smaller = 0;
    for (let i = 0; i < 60; i++) {
      const size = pair(48, 55);
      const steps = drawSteps();
      const [whole, trimmed] = [build(steps, size, false), build(steps, size, true)];
      if (JSON.stringify(whole.sizes) !== JSON.stringify(trimmed.sizes)) smaller++;
      const feeds = Object.fromEntries(
        [whole.graph.inputs[0]!, ...whole.weights].map(({ name, shape }) => [
          name,
          { shape: shape as number[], data: normals(`${name}/${i}`, shape as number[]) },
        ]),
      );
      const [expected, received] = [await runOnce(whole.graph, feeds), await runOnce(trimmed.graph, feeds)];
      expect(Object.keys(received).sort()).toEqual(Object.keys(expected).sort());
      for (const [name, { shape, data }] of Object.entries(expected)) {
        expect(received[name]!.shape).toEqual(shape);
        // Sums over fewer zeros, in another order: the last bits may differ.
        expect(worstError(received[name]!.data as Float32Array, data as Float32Array)).toBeLessThan(1e-4);
      }
    }
    expect(smaller).toBeGreaterThan(20);
  });

  test("computes for MNIST's usual network what its last pooling reads, and no more", () => {
    const conv: Step = { op: "conv", kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0] };
    const pool: Step = { op: "pool", kernel: [2, 2], strides: [2, 2] };
    const { sizes } = build([conv, { op: "relu" }, pool, conv, pool], [28, 28], true);
    expect(sizes.map((shape) => shape.slice(2))).toEqual([
      [24, 24],
      [10, 10],
    ]);
  });

  test("computes a value whole that is wanted for itself", () => {
    const graph = new GraphBuilder("kept");
    const image = graph.input("image", "FP32", [1, 1, 8, 8]);
    const weight = graph.input("w", "FP32", [1, 1, 2, 2]);
    const y = graph.op("Conv", [image, weight], { kernel_shape: [2, 2] });
    graph.op("MaxPool", [y], { kernel_shape: [2, 2], strides: [2, 2] });
    trimBorders(graph, new Set([y.name]));
    expect(graph.valueOf(y.name).shape).toEqual([1, 1, 7, 7]);
  });
});
