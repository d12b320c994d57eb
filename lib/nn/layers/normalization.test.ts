/** Normalization by values that Keras found in data: weights, which its files bring and its declaration leaves out. */

import { runOnce } from "../../../test/support/graph-runner.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { inKerasOrder } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

const X = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const MEAN = Float32Array.of(0.5, -2);
const VARIANCE = Float32Array.of(4, 0);

async function run(config: Record<string, unknown>) {
  const graph = new GraphBuilder("net");
  const network = parseNetwork({
    class_name: "Sequential",
    config: {
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, 2, 2], name: "x" } },
        { class_name: "Normalization", config: { name: "n", mean: null, variance: null, ...config } },
      ],
    },
  });
  const built = buildNetwork(network, graph, [graph.input("x", "FP32", [2, 2, 2])], {
    training: false,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  graph.output(inKerasOrder(graph, built.outputs[0]!), "y");
  const { y } = await runOnce(graph, {
    x: { shape: [2, 2, 2], data: X },
    "n/mean": { shape: [2], data: MEAN },
    "n/variance": { shape: [2], data: VARIANCE },
  });
  return { weights: built.weights, y: Array.from(y!.data as Float32Array) };
}

test.each<[string, Record<string, unknown>, (x: number, at: number) => number]>([
  // Keras divides by at least 1e-7.
  ["along the last axis", {}, (x, i) => (x - MEAN[i % 2]!) / (i % 2 ? 1e-7 : 2)],
  ["along another", { axis: 1 }, (x, i) => (x - MEAN[(i >> 1) % 2]!) / ((i >> 1) % 2 ? 1e-7 : 2)],
  ["and back", { invert: true }, (x, i) => x * (i % 2 ? 1e-7 : 2) + MEAN[i % 2]!],
])("adapted values %s", async (_, config, expected) => {
  const { weights, y } = await run(config);
  expect(weights.map(({ name, trainable }) => [name, trainable])).toEqual([
    ["n/mean", false],
    ["n/variance", false],
  ]);
  y.forEach((value, i) => {
    expect(value / expected(X[i]!, i)).toBeCloseTo(1, 5);
  });
});
