/**
 * Recurrent layers, Bidirectional, Embedding and Masking against Keras 3 on TensorFlow: in the served graph (ONNX's own
 * operators where there is no mask) outputs and masks, in the training graph outputs and the gradients of Σ c·y of
 * every weight and every input. Both sides sum some dozen terms in float32 in another order: 2e-5·(1 + |v|).
 */

import { readFileSync } from "node:fs";
import { runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import { inKerasOrder } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

type Values = { shape: number[]; data: number[] };
type Case = {
  architecture: unknown;
  inputs: Record<string, Values>;
  weights: Record<string, Values>;
  outputs: Values[];
  /** Outputs in inference, where they differ. */
  served?: Values[];
  masks: (Values | null)[];
  cotangents: Values[];
  gradients: Record<string, Values>;
  inputGradients: Record<string, Values>;
};

const read = (file: string) =>
  JSON.parse(
    readFileSync(new URL(`../../../test/fixtures/keras/${file}.json`, import.meta.url), "utf8"),
  ) as Record<string, Case>;
const CASES = { ...read("sequences"), ...read("masks") };
const TOLERANCE = 2e-5;

function build(given: Case, training: boolean) {
  const graph = new GraphBuilder("case");
  const network = parseNetwork(given.architecture);
  const inputs = network.inputs.map(({ name, shape, datatype }) =>
    graph.input(name, datatype, [training ? given.inputs[name]!.shape[0]! : "batch", ...shape]),
  );
  const weights = new Map<string, Value>();
  const built = buildNetwork(network, graph, inputs, {
    training,
    weightValue(spec) {
      const value = graph.input(spec.name, "FP32", spec.shape);
      weights.set(spec.name, value);
      return value;
    },
  });
  const outputs = built.outputs.map((output) => inKerasOrder(graph, output));
  for (const [i, output] of outputs.entries()) graph.output(output, `y${i}`);
  for (const [i, { mask }] of built.outputs.entries()) if (mask) graph.output(mask, `mask${i}`);
  const feeds = Object.fromEntries([
    ...network.inputs.map(({ name, datatype }) => {
      const { shape, data } = given.inputs[name]!;
      return [name, { shape, datatype, data: (datatype === "INT32" ? Int32Array : Float32Array).from(data) }];
    }),
    ...Object.entries(given.weights).map(([name, { shape, data }]) => [
      name,
      { shape, data: Float32Array.from(data) },
    ]),
  ]);
  return { graph, network, inputs, outputs, weights, built, feeds };
}

describe("sequences as Keras computes them", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: answers as Keras does`, async () => {
      const { graph, weights, built, feeds } = build(given, false);
      const shapes = (list: Record<string, { shape: readonly unknown[] }>) =>
        Object.fromEntries(Object.entries(list).map(([weight, { shape }]) => [weight, [...shape]]));
      expect(shapes(Object.fromEntries(weights))).toEqual(shapes(given.weights));
      const results = await runOnce(graph, feeds);
      (given.served ?? given.outputs).forEach(({ shape, data }, i) => {
        expect(results[`y${i}`]!.shape).toEqual(shape);
        expect(worstError(results[`y${i}`]!.data as Float32Array, data)).toBeLessThan(TOLERANCE);
      });
      expect(built.outputs.map(({ mask }) => mask !== undefined)).toEqual(
        given.masks.map((mask) => mask !== null),
      );
      given.masks.forEach((mask, i) => {
        if (mask) expect([...(results[`mask${i}`]!.data as Uint8Array)].map(Number)).toEqual(mask.data);
      });
    });

    test(`${name}: trains as Keras does`, async () => {
      const { graph, network, inputs, outputs, weights, feeds } = build(given, true);
      const terms = outputs.map((y, i) => {
        const { shape, data } = given.cotangents[i]!;
        const c = graph.initializer(`c${i}`, { datatype: "FP32", shape, data: Float32Array.from(data) });
        return graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
      });
      const loss = terms.length === 1 ? terms[0]! : graph.op("Sum", terms);
      const wanted = [
        ...Object.entries(given.gradients).map(([weight, values]) => ({
          of: weight,
          value: weights.get(weight)!,
          values,
        })),
        ...Object.entries(given.inputGradients).map(([input, values]) => ({
          of: input,
          value: inputs[network.inputs.findIndex((other) => other.name === input)]!,
          values,
        })),
      ];
      const found = gradients(
        graph,
        loss,
        wanted.map(({ value }) => value),
      );
      for (const [i, { of }] of wanted.entries()) graph.output(found[i]!, `gradient of ${of}`);
      const results = await runOnce(graph, feeds);
      const error = (output: string, { data }: Values) =>
        worstError(results[output]!.data as Float32Array, data);
      const wrong = [
        ...given.outputs.map((values, i) => ({ of: `y${i}`, error: error(`y${i}`, values) })),
        ...wanted.map(({ of, values }) => ({ of, error: error(`gradient of ${of}`, values) })),
      ].filter((result) => !(result.error < TOLERANCE));
      expect(wrong).toEqual([]);
    });
  }
});
