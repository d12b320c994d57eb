/**
 * Networks as real Keras 3, Keras 2 and TensorFlow.js declare and compute them. The fixtures hold `model.to_json()`, weights, an input and
 * what Keras (on TensorFlow, channels_first on PyTorch) answers in inference and in training: outputs, gradients of
 * Σ c·y for a fixed c, and moving statistics after one step. Weights have Keras's shapes: convolution kernels
 * [KH, KW, C, F] there, [F, C, KH, KW] here. Both sides compute in float32 with sums of at most some hundred terms
 * in another order: 2e-5·(1 + |v|); gradients, which pass more sums, 5e-5.
 */

import { readFileSync } from "node:fs";
import { runOnce, worstError } from "../../test/support/graph-runner.ts";
import { gradients } from "../autodiff/backward.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { inKerasOrder, type WeightSpec } from "./layer.ts";
import { buildNetwork, parseNetwork } from "./network.ts";

type Values = { shape: number[]; data: number[] };
type Case = {
  architecture: unknown;
  x: Values;
  weights: Record<string, Values>;
  inference: Values;
  training?: Values;
  cotangent?: Values;
  gradients?: Record<string, Values>;
  statistics?: Record<string, Values>;
};

const read = (file: string): Record<string, Case> =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/keras/${file}.json`, import.meta.url), "utf8"));
const CASES = Object.assign(
  {},
  ...["layers", "activations", "activations-keras2", "functional", "keras2", "normalization", "tfjs"].map(
    read,
  ),
) as Record<string, Case>;
const TOLERANCE = 2e-5;

/** A weight of Keras in our order of axes. */
function ours({ shape, data }: Values): { shape: number[]; data: Float32Array } {
  if (shape.length !== 4) return { shape, data: Float32Array.from(data) };
  const [kh, kw, depth, filters] = shape as [number, number, number, number];
  const moved = new Float32Array(data.length);
  for (let f = 0, to = 0; f < filters; f++)
    for (let c = 0; c < depth; c++)
      for (let i = 0; i < kh; i++)
        for (let j = 0; j < kw; j++) moved[to++] = data[((i * kw + j) * depth + c) * filters + f]!;
  return { shape: [filters, depth, kh, kw], data: moved };
}

function build(given: Case, training: boolean) {
  const graph = new GraphBuilder("case");
  const network = parseNetwork(given.architecture);
  const x = graph.input("x", "FP32", [training ? given.x.shape[0]! : "batch", ...network.inputs[0]!.shape]);
  const weights = new Map<string, Value>();
  const specs: WeightSpec[] = [];
  const built = buildNetwork(network, graph, [x], {
    training,
    weightValue(spec) {
      const value = graph.input(spec.name, "FP32", spec.shape);
      weights.set(spec.name, value);
      specs.push(spec);
      return value;
    },
  });
  const y = inKerasOrder(graph, built.outputs[0]!);
  graph.output(y, "y");
  const feeds = {
    x: { shape: given.x.shape, data: Float32Array.from(given.x.data) },
    ...Object.fromEntries(Object.entries(given.weights).map(([name, values]) => [name, ours(values)])),
  };
  return { graph, built, y, weights, specs, feeds };
}

describe("networks as Keras declares them", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: has the same weights and answers as Keras does`, async () => {
      const { graph, specs, feeds } = build(given, false);
      const shapes = (entries: [string, { shape: number[] }][]) =>
        Object.fromEntries(entries.map(([weight, { shape }]) => [weight, shape]));
      expect(shapes(specs.map((spec) => [spec.name, spec]))).toEqual(
        shapes(Object.entries(given.weights).map(([weight, values]) => [weight, ours(values)])),
      );
      const { y } = await runOnce(graph, feeds);
      expect(y!.shape).toEqual(given.inference.shape);
      expect(worstError(y!.data as Float32Array, given.inference.data)).toBeLessThan(TOLERANCE);
    });

    if (given.training && given.gradients && given.statistics && given.cotangent) {
      const { training, gradients: expected, statistics, cotangent } = given;
      test(`${name}: trains as Keras does`, async () => {
        const { graph, built, y, weights, specs, feeds } = build(given, true);
        const c = graph.initializer("cotangent", {
          datatype: "FP32",
          shape: cotangent.shape,
          data: Float32Array.from(cotangent.data),
        });
        const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
        const trained = specs.filter((spec) => spec.trainable).map((spec) => spec.name);
        expect(trained.sort()).toEqual(Object.keys(expected).sort());
        const found = gradients(
          graph,
          loss,
          trained.map((weight) => weights.get(weight)!),
        );
        trained.forEach((weight, i) => {
          graph.output(found[i]!, `gradient of ${weight}`);
        });
        expect([...built.updates.keys()].sort()).toEqual(Object.keys(statistics).sort());
        for (const [weight, next] of built.updates) graph.output(next, `next ${weight}`);

        const results = await runOnce(graph, feeds);
        const error = (output: string, values: Values) =>
          worstError(results[output]!.data as Float32Array, ours(values).data);
        expect(error("y", { ...training, shape: [] })).toBeLessThan(TOLERANCE);
        for (const [weight, values] of Object.entries(expected))
          expect({ weight, error: error(`gradient of ${weight}`, values) }).toEqual({
            weight,
            error: expect.closeTo(0, 4),
          });
        for (const [weight, values] of Object.entries(statistics))
          expect(error(`next ${weight}`, values)).toBeLessThan(TOLERANCE);
      });
    }
  }
});
