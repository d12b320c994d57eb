/**
 * Attention layers and Transformer blocks as Keras 3 and KerasHub compute them: outputs, carried masks, and the
 * gradients of Σ c·y for every input and weight, with queries that may attend to nothing among them. Both sides compute
 * in float32, sums of some dozen terms in another order: 2e-5·(1 + |v|), gradients 5e-5. The served graph, whose batch
 * varies, is held to the same numbers.
 */

import { readFileSync } from "node:fs";
import { type Fed, normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { InvalidModelError } from "../../errors.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import { ConfigReader } from "../config-reader.ts";
import { type ApplyLayer, inKerasOrder, type LayerValue, type WeightSpec } from "../layer.ts";
import type { Model } from "../model.ts";
import { buildNetwork, parseNetwork } from "../network.ts";
import { LAYERS } from "./table.ts";

type Values = { shape: number[]; data: number[] };
type Case = {
  class_name: string;
  config: Record<string, unknown>;
  options: Record<string, unknown>;
  same: boolean;
  named: Record<string, Values>;
  inputs: Values[];
  masks: (Values | null)[];
  weights: Record<string, Values>;
  outputs: Values[];
  mask: Values | null;
  cotangents: Values[];
  input_gradients: Values[];
  gradients: Record<string, Values>;
};

type ModelCase = {
  architecture: unknown;
  inputs: Values[];
  weights: Record<string, Values>;
  output: Values;
  cotangent: Values;
  gradients: Record<string, Values>;
};

const FIXTURE: { layers: Record<string, Case>; models: Record<string, ModelCase> } = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/keras/attention.json", import.meta.url), "utf8"),
);
const CASES = FIXTURE.layers;

const noInner = () => {
  throw new Error("no layer is declared inside this one");
};

function read(className: string, config: Record<string, unknown>): ApplyLayer {
  const reader = new ConfigReader("layer", config);
  const apply = LAYERS[className]!(reader, noInner);
  reader.done();
  return apply;
}

/** One layer applied to inputs of a graph of its own. `batch` is the size, or the name of one that varies. */
function build(given: Case, batch?: string, training = false) {
  const graph = new GraphBuilder("case");
  const feeds: Record<string, Fed> = {};
  const fed = (name: string, { shape, data }: Values, isMask: boolean): Value => {
    feeds[name] = isMask
      ? { shape, datatype: "BOOL", data: Uint8Array.from(data) }
      : { shape, data: Float32Array.from(data) };
    return graph.input(name, isMask ? "BOOL" : "FP32", batch ? [batch, ...shape.slice(1)] : shape);
  };
  const inputs = given.inputs.map((values, i): LayerValue => {
    const value = fed(`x${i}`, values, false);
    const mask = given.masks[i];
    return mask ? { value, mask: fed(`mask${i}`, mask, true) } : { value };
  });
  const call = {
    tensors: new Map(
      Object.entries(given.named).map(([name, values]) => [name, [{ value: fed(name, values, true) }]]),
    ),
    options: new Map(Object.entries(given.options)),
  };
  const apply = read(given.class_name, given.config);
  const layer = {
    name: "layer",
    className: given.class_name,
    frozen: false,
    apply: (c: Parameters<ApplyLayer>[0]) => apply(c, given.same ? [...inputs, ...inputs] : inputs, call),
  };
  const step = { layer, inputs: [], tensors: new Map(), options: new Map() };
  const outputs = given.outputs.map((_, output) => ({ from: 0, output, name: `y${output}` }));
  const model: Model & { inputs: [] } = {
    name: "case",
    inputs: [],
    frozen: false,
    layers: [layer],
    steps: [step],
    outputs,
  };
  const specs: WeightSpec[] = [];
  const weights: Value[] = [];
  const built = buildNetwork(model, graph, [], {
    training,
    weightValue(spec) {
      const values = given.weights[spec.name.slice("layer/".length)];
      if (values) feeds[spec.name] = { shape: values.shape, data: Float32Array.from(values.data) };
      const value = graph.input(spec.name, "FP32", spec.shape);
      specs.push(spec);
      weights.push(value);
      return value;
    },
  });
  const results = built.outputs.map((output) => inKerasOrder(graph, output));
  return { graph, feeds, inputs, specs, weights, results, built };
}

describe("attention as Keras computes it", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: has the same weights, answers and gradients`, async () => {
      const { graph, feeds, inputs, specs, weights, results, built } = build(given);
      expect(Object.fromEntries(specs.map((spec) => [spec.name.slice("layer/".length), spec.shape]))).toEqual(
        Object.fromEntries(Object.entries(given.weights).map(([weight, { shape }]) => [weight, shape])),
      );
      const totals = results.map((y, i) => {
        const { shape, data } = given.cotangents[i]!;
        const c = graph.initializer("c", { datatype: "FP32", shape, data: Float32Array.from(data) });
        return graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
      });
      const loss = totals.reduce((sum, total) => graph.op("Add", [sum, total]));
      const found = gradients(graph, loss, [...inputs.map(({ value }) => value), ...weights]);
      results.forEach((y, i) => {
        graph.output(y, `y${i}`);
      });
      found.forEach((gradient, i) => {
        graph.output(gradient, `d${i}`);
      });
      const mask = built.outputs[0]!.mask;
      expect(mask === undefined).toBe(given.mask === null);
      if (mask) graph.output(mask, "mask");

      const received = await runOnce(graph, feeds);
      given.outputs.forEach(({ shape, data }, i) => {
        expect(received[`y${i}`]!.shape).toEqual(shape);
        expect(worstError(received[`y${i}`]!.data as Float32Array, data)).toBeLessThan(2e-5);
      });
      if (given.mask) expect([...(received.mask!.data as Uint8Array)]).toEqual(given.mask.data);
      const expected = [
        ...given.input_gradients,
        ...specs.map((spec) => given.gradients[spec.name.slice("layer/".length)]!),
      ];
      const labels = [...inputs.map((_, i) => `input ${i}`), ...specs.map((spec) => spec.name)];
      const errors = expected.map(({ data }, i) => [
        labels[i],
        worstError(received[`d${i}`]!.data as Float32Array, data),
      ]);
      expect(errors.filter(([, error]) => (error as number) >= 5e-5)).toEqual([]);
    });

    test(`${name}: answers the same for a batch that varies`, async () => {
      const { graph, feeds, results } = build(given, "batch");
      results.forEach((y, i) => {
        graph.output(y, `y${i}`);
      });
      const received = await runOnce(graph, feeds);
      given.outputs.forEach(({ data }, i) => {
        expect(worstError(received[`y${i}`]!.data as Float32Array, data)).toBeLessThan(2e-5);
      });
    });
  }
});

describe("Transformers as they are declared", () => {
  test.each(Object.entries(FIXTURE.models))("%s", async (_, given) => {
    const run = async (batch?: string) => {
      const graph = new GraphBuilder("case");
      const network = parseNetwork(given.architecture);
      const feeds: Record<string, Fed> = {};
      const inputs = network.inputs.map(({ name, datatype, shape }, i) => {
        const fed = given.inputs[i]!;
        feeds[name] = { shape: fed.shape, datatype: "INT32", data: Int32Array.from(fed.data) };
        return graph.input(name, datatype, [batch ?? fed.shape[0]!, ...shape]);
      });
      const weights = new Map<string, Value>();
      const { outputs } = buildNetwork(network, graph, inputs, {
        training: false,
        weightValue({ name, shape }) {
          const values = given.weights[name]!;
          feeds[name] = { shape: values.shape, data: Float32Array.from(values.data) };
          const value = graph.input(name, "FP32", shape);
          weights.set(name, value);
          return value;
        },
      });
      const y = outputs[0]!.value;
      graph.output(y, "y");
      if (!batch) {
        expect([...weights.keys()].sort()).toEqual(Object.keys(given.weights).sort());
        const { shape, data } = given.cotangent;
        const c = graph.initializer("c", { datatype: "FP32", shape, data: Float32Array.from(data) });
        const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
        gradients(graph, loss, [...weights.values()]).forEach((gradient, i) => {
          graph.output(gradient, `d ${[...weights.keys()][i]}`);
        });
      }
      return runOnce(graph, feeds);
    };
    const [fixed, varying] = [await run(), await run("batch")];
    for (const { y } of [fixed, varying]) {
      expect(y!.shape).toEqual(given.output.shape);
      expect(worstError(y!.data as Float32Array, given.output.data)).toBeLessThan(2e-5);
    }
    const errors = Object.entries(given.gradients).map(([name, { data }]) => [
      name,
      worstError(fixed[`d ${name}`]!.data as Float32Array, data),
    ]);
    expect(errors.filter(([, error]) => (error as number) >= 5e-5)).toEqual([]);
  });
});

describe("attention in training", () => {
  const dropping = Object.entries(CASES).filter(([, { config }]) => Number(config.dropout) > 0);

  test.each(dropping)("%s: drops with a mask of the scores", async (_, given) => {
    const { graph, feeds, results, built } = build(given, undefined, true);
    graph.output(results[0]!, "y0");
    expect(built.randomInputs.length).toBeGreaterThan(0);
    for (const input of built.randomInputs) {
      expect(input).toMatchObject({ kind: "keep", rate: given.config.dropout });
      feeds[input.name] = {
        shape: input.shape,
        datatype: "BOOL",
        data: new Uint8Array(normals(input.name, input.shape).length),
      };
    }
    const { y0 } = await runOnce(graph, feeds);
    expect((y0!.data as Float32Array).every(Number.isFinite)).toBe(true);
    // With all attention dropped nothing but the bias is left.
    if (given.class_name !== "MultiHeadAttention") return;
    const bias = given.weights["attention_output/bias"]!.data;
    const expected = Array.from({ length: y0!.data.length }, (_, i) => bias[i % bias.length]!);
    expect(worstError(y0!.data as Float32Array, expected)).toBeLessThan(1e-6);
  });
});

describe("refused attention", () => {
  const shapes = (...list: number[][]) => list.map((shape) => ({ shape, data: [] }));
  const plain = (class_name: string, config: Record<string, unknown>, ...list: number[][]): Case => ({
    class_name,
    config,
    options: {},
    same: false,
    named: {},
    inputs: shapes(...list),
    masks: [],
    weights: {},
    outputs: shapes([1]),
    mask: null,
    cotangents: [],
    input_gradients: [],
    gradients: {},
  });
  const mha = { num_heads: 2, key_dim: 3 };
  const [q, v] = [
    [2, 4, 6],
    [2, 3, 6],
  ];
  const block = { num_heads: 2, intermediate_dim: 8 };
  const cases: [string, Case, string][] = [
    ["no heads", plain("MultiHeadAttention", { ...mha, num_heads: 0 }, q, v), "num_heads: received 0"],
    [
      "other axes",
      plain("MultiHeadAttention", { ...mha, attention_axes: [2] }, q, v),
      "attention_axes: received [2], expected null or the axis of the steps, 1",
    ],
    ["an unknown option", plain("MultiHeadAttention", { ...mha, head_dim: 3 }, q, v), "head_dim"],
    [
      "a bad output shape",
      plain("MultiHeadAttention", { ...mha, output_shape: [0] }, q, v),
      "output_shape: received [0]",
    ],
    [
      "a query alone",
      plain("MultiHeadAttention", mha, q),
      "received 1, expected a query, a value and, if it is another tensor, a key",
    ],
    [
      "images",
      plain("MultiHeadAttention", mha, [2, 4, 4, 6], v),
      "received [2,4,4,6], expected [batch,steps,size]",
    ],
    [
      "more keys than values",
      plain("MultiHeadAttention", mha, q, v, [2, 5, 6]),
      "received 5 keys for 3 values",
    ],
    [
      "a mask of other steps",
      { ...plain("MultiHeadAttention", mha, q, v), masks: [null, { shape: [2, 4], data: [] }] },
      "key mask: received [2,4], expected [batch,3]",
    ],
    [
      "an attention mask of other steps",
      {
        ...plain("MultiHeadAttention", mha, q, v),
        named: { attention_mask: { shape: [2, 3, 4], data: [] } },
      },
      "received [2,3,4], expected [batch,4,3] or [batch,2,4,3]",
    ],
    [
      "a query mask of the call",
      { ...plain("MultiHeadAttention", mha, q, v), named: { query_mask: { shape: [2, 4], data: [] } } },
      "argument 'query_mask'",
    ],
    [
      "a switch that is no switch",
      { ...plain("MultiHeadAttention", mha, q, v), options: { use_causal_mask: 1 } },
      "argument 'use_causal_mask': received 1, expected true or false",
    ],
    [
      "an unknown way to score",
      plain("Attention", { score_mode: "cosine" }, q, v),
      'score_mode: received "cosine", expected one of dot, concat',
    ],
    ["sizes that do not fit", plain("Attention", {}, q, [2, 3, 5]), "received [2,4,6], [2,3,5]"],
    ["one tensor", plain("AdditiveAttention", {}, q), "expected a query [batch,T,size]"],
    [
      "more heads than sizes",
      plain("TransformerEncoder", { ...block, num_heads: 7 }, q),
      "num_heads: received 7, expected at most the size 6",
    ],
    ["a vector", plain("TransformerEncoder", block, [2, 6]), "expected FP32 [batch,steps,size]"],
    ["an unknown activation", plain("TransformerDecoder", { ...block, activation: "rulu" }, q), "rulu"],
    ["three sequences", plain("TransformerDecoder", block, q, v, v), "received 3"],
    [
      "more steps than positions",
      plain("PositionEmbedding", { sequence_length: 3 }, q),
      "has 4 steps, sequence_length is 3",
    ],
    [
      "weights for the way back",
      plain(
        "TokenAndPositionEmbedding",
        { vocabulary_size: 7, sequence_length: 4, embedding_dim: 6, tie_weights: false },
        [2, 4],
      ),
      "tie_weights: received false",
    ],
    [
      "more tokens than positions",
      plain(
        "TokenAndPositionEmbedding",
        { vocabulary_size: 7, sequence_length: 3, embedding_dim: 6 },
        [2, 4],
      ),
      "has 4 steps, sequence_length is 3",
    ],
    ["positions of a vector", plain("SinePositionEncoding", {}, [2, 6]), "expected [batch,steps,size]"],
  ];
  test.each(cases)("%s", (_, given, message) => {
    expect(() => build(given)).toThrow(message);
    if (!message.includes("rulu")) expect(() => build(given)).toThrow(InvalidModelError);
  });
});
