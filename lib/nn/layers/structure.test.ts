/**
 * Pooling, padding, cropping, up-sampling, reshaping and time-distributed layers against Keras 3 (channels first on
 * PyTorch, else on TensorFlow): what the served graph answers, and in the training graph, with and without the
 * rewrites of a step, the output and the gradients of Σ c·y for the input and every weight. Both sides compute in
 * float32 with sums of at most some hundred terms in another order: 2e-5·(1 + |v|).
 */

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { InvalidModelError } from "../../errors.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import { poolBeforeActivation } from "../../onnx/passes/pool-before-activation.ts";
import { poolInPhases } from "../../onnx/passes/pool-in-phases.ts";
import { trimBorders } from "../../onnx/passes/trim-borders.ts";
import { compileInference } from "../inference-graph.ts";
import { inKerasOrder, type WeightSpec } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

type Values = { shape: number[]; data: number[] };
type Case = Record<"x" | "y" | "cotangent" | "x_gradient", Values> &
  Record<"weights" | "gradients", Record<string, Values>> & { architecture: unknown };

const fixture = (file: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/keras/${file}.json`, import.meta.url), "utf8"));
const CASES: Record<string, Case> = fixture("structure");
/** Weights in the order of the model's layers. */
const TENSORFLOW_JS: Record<
  string,
  Record<"x" | "y", Values> & { architecture: unknown; weights: Values[] }
> = fixture("structure-tfjs");
const TOLERANCE = 2e-5;

/** A tensor of Keras with its axes as the weight has them in memory. */
function ours(spec: WeightSpec, { shape, data }: Values): { shape: number[]; data: Float32Array } {
  const order = spec.order ?? shape.map((_, axis) => axis);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const moved = new Float32Array(data.length);
  const sizes = order.map((axis) => shape[axis]!);
  moved.forEach((_, to) => {
    let [rest, from] = [to, 0];
    for (let i = order.length - 1; i >= 0; i--) {
      from += (rest % sizes[i]!) * strides[order[i]!]!;
      rest = Math.floor(rest / sizes[i]!);
    }
    moved[to] = data[from]!;
  });
  return { shape: sizes, data: moved };
}

/** The training graph of a case. */
function training(given: Pick<Case, "architecture" | "x">) {
  const graph = new GraphBuilder("case");
  const network = parseNetwork(given.architecture);
  const x = graph.input("x", "FP32", given.x.shape);
  const weights = new Map<string, Value>();
  const specs = new Map<string, WeightSpec>();
  const built = buildNetwork(network, graph, [x], {
    training: true,
    weightValue(spec) {
      const value = graph.input(spec.name, "FP32", spec.shape);
      weights.set(spec.name, value);
      specs.set(spec.name, spec);
      return value;
    },
  });
  return { graph, network, x, weights, specs, y: inKerasOrder(graph, built.outputs[0]!) };
}

async function trainedErrors(given: Case, options: { rewritten: boolean }): Promise<Record<string, number>> {
  const { graph, x, weights, specs, y } = training(given);
  const c = graph.initializer("cotangent", {
    datatype: "FP32",
    shape: given.cotangent.shape,
    data: Float32Array.from(given.cotangent.data),
  });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
  const wanted = new Map<string, Value>(weights);
  if (options.rewritten) {
    const held = new Set([y.name, loss.name]);
    poolBeforeActivation(graph, held);
    trimBorders(graph, held);
    poolInPhases(graph, new Set([...weights.values()].map(({ name }) => name)), held);
  } else wanted.set("x", x);
  const found = gradients(graph, loss, [...wanted.values()]);
  graph.output(y, "y");
  [...wanted.keys()].forEach((name, i) => {
    graph.output(found[i]!, `gradient of ${name}`);
  });
  const fed = Object.entries(given.weights).map(([name, values]) => [name, ours(specs.get(name)!, values)]);
  const results = await runOnce(graph, {
    x: { shape: given.x.shape, data: Float32Array.from(given.x.data) },
    ...Object.fromEntries(fed),
  });
  const error = (output: string, expected: ArrayLike<number>) =>
    worstError(results[output]!.data as Float32Array, expected);
  const errors: Record<string, number> = { y: error("y", given.y.data) };
  for (const name of wanted.keys()) {
    const expected =
      name === "x" ? given.x_gradient.data : ours(specs.get(name)!, given.gradients[name]!).data;
    errors[name] = error(`gradient of ${name}`, expected);
  }
  return errors;
}

describe("structure layers as Keras computes them", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: is served with Keras's answers, for any batch`, async () => {
      const network = parseNetwork(given.architecture);
      const { specs } = training(given);
      expect([...specs.keys()].sort()).toEqual(Object.keys(given.weights).sort());
      const weights = new Map(
        [...specs].map(([weight, spec]) => [weight, ours(spec, given.weights[weight]!)]),
      );
      const { bytes, signature } = compileInference(network, weights);
      const [output] = signature.outputs;
      expect(output!.shape).toEqual([-1, ...given.y.shape.slice(1)]);
      const served = await InferenceSession.create(bytes);
      try {
        const data = Float32Array.from(given.x.data);
        const whole = (await served.run({ x: new Tensor("float32", data, given.x.shape) }))[output!.name]!;
        expect(whole.dims).toEqual(given.y.shape);
        expect(worstError(whole.data as Float32Array, given.y.data)).toBeLessThan(TOLERANCE);
        const one = data.slice(0, data.length / given.x.shape[0]!);
        const alone = await served.run({ x: new Tensor("float32", one, [1, ...given.x.shape.slice(1)]) });
        const first = given.y.data.slice(0, given.y.data.length / given.x.shape[0]!);
        expect(worstError(alone[output!.name]!.data as Float32Array, first)).toBeLessThan(TOLERANCE);
      } finally {
        await served.release();
      }
    });

    test(`${name}: trains as Keras does`, async () => {
      for (const rewritten of Object.keys(given.weights).length > 0 ? [false, true] : [false])
        for (const [of, error] of Object.entries(await trainedErrors(given, { rewritten })))
          expect({ of, rewritten, fits: error < TOLERANCE, error }).toEqual({
            of,
            rewritten,
            fits: true,
            error: expect.any(Number),
          });
    });
  }
});

type Declared = { class_name: string; config: Record<string, unknown> };
const layer = (class_name: string, config: Record<string, unknown> = {}): Declared => ({
  class_name,
  config,
});
const sequential = (shape: number[], ...layers: Declared[]) => ({
  class_name: "Sequential",
  config: { layers: [layer("InputLayer", { batch_shape: [null, ...shape] }), ...layers] },
});

describe("structure layers in other dialects", () => {
  test.each(Object.entries(TENSORFLOW_JS))("TensorFlow.js, %s: has its answers", async (_, given) => {
    const { network, specs } = training(given);
    const weights = [...specs].map(([name, spec], i) => [name, ours(spec, given.weights[i]!)] as const);
    const graph = new GraphBuilder("case");
    const x = graph.input("x", "FP32", ["batch", ...given.x.shape.slice(1)]);
    const built = buildNetwork(network, graph, [x], {
      training: false,
      weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
    });
    graph.output(inKerasOrder(graph, built.outputs[0]!), "y");
    const { y } = await runOnce(graph, {
      x: { shape: given.x.shape, data: Float32Array.from(given.x.data) },
      ...Object.fromEntries(weights),
    });
    expect(y!.shape).toEqual(given.y.shape);
    expect(worstError(y!.data as Float32Array, given.y.data)).toBeLessThan(TOLERANCE);
  });

  const outputShape = (shape: number[], ...layers: Declared[]) =>
    training({ architecture: sequential(shape, ...layers), x: { shape: [2, ...shape], data: [] } }).y.shape;

  test.each([
    [
      "a Reshape of TensorFlow.js, null for what remains",
      [3, 4],
      layer("Reshape", { targetShape: [null, 2] }),
      [6, 2],
    ],
    ["a RepeatVector", [3], layer("RepeatVector", { n: 2 }), [2, 3]],
    [
      "a pooling's sizes as a number or a list of one",
      [6, 1],
      layer("MaxPooling1D", { poolSize: [3], strides: 1 }),
      [4, 1],
    ],
    [
      "strides of null, those of the window",
      [6, 1],
      layer("AveragePooling1D", { pool_size: 3, strides: null }),
      [2, 1],
    ],
    [
      "channelsFirst",
      [2, 4, 4],
      layer("AveragePooling2D", { poolSize: [2, 2], dataFormat: "channelsFirst" }),
      [2, 2, 2],
    ],
    [
      "an integer and a pair for two axes",
      [5, 5, 1],
      layer("ZeroPadding2D", { padding: [1, [0, 2]] }),
      [7, 7, 1],
    ],
    ["no padding", [5, 5, 1], layer("ZeroPadding2D", { padding: 0 }), [5, 5, 1]],
    ["no cropping", [5, 5, 1], layer("Cropping2D", {}), [5, 5, 1]],
    ["a size of 1", [2, 2, 1], layer("UpSampling2D", { size: 1, interpolation: "bilinear" }), [2, 2, 1]],
  ] as const)("read %s", (_, shape, declared, expected) => {
    expect(outputShape([...shape], declared)).toEqual([2, ...expected]);
  });
});

test("a time-distributed softmax keeps its scores for the loss", async () => {
  const graph = new GraphBuilder("case");
  const inner = { className: "Dense", config: { units: 3, activation: "softmax" } };
  const network = parseNetwork(sequential([4, 2], layer("TimeDistributed", { layer: inner })));
  const feeds: Record<string, { shape: number[]; data: Float32Array }> = {
    x: { shape: [5, 4, 2], data: normals("x", [5, 4, 2]) },
  };
  const built = buildNetwork(network, graph, [graph.input("x", "FP32", [5, 4, 2])], {
    training: true,
    weightValue(spec) {
      feeds[spec.name] = { shape: spec.shape, data: normals(spec.name, spec.shape) };
      return graph.input(spec.name, "FP32", spec.shape);
    },
  });
  const [output] = built.outputs;
  expect(output!.logits!.activation).toBe("softmax");
  const scores = inKerasOrder(graph, { ...output!, value: output!.logits!.value });
  graph.output(graph.op("Softmax", [scores], { axis: -1 }), "again");
  graph.output(inKerasOrder(graph, output!), "y");
  const { y, again } = await runOnce(graph, feeds);
  expect(y!.shape).toEqual([5, 4, 3]);
  expect(worstError(again!.data as Float32Array, y!.data as Float32Array)).toBeLessThan(TOLERANCE);
});

describe("structure layers refuse", () => {
  const dense = layer("Dense", { units: 2 });
  const cases: [string, number[], Declared, string][] = [
    ["two open sizes", [4], layer("Reshape", { target_shape: [-1, -1] }), "'reshape'.target_shape"],
    ["a size of 0", [4], layer("Reshape", { target_shape: [0, 4] }), "'reshape'.target_shape"],
    [
      "other elements",
      [4],
      layer("Reshape", { target_shape: [3, 2] }),
      "[batch,4] has 4 elements an example, target_shape is [3,2]",
    ],
    [
      "elements that do not divide",
      [4],
      layer("Reshape", { target_shape: [3, -1] }),
      "target_shape is [3,-1]",
    ],
    ["an axis twice", [4, 2], layer("Permute", { dims: [1, 1] }), "every axis after the batch once"],
    ["axes from 0", [4, 2], layer("Permute", { dims: [0, 1] }), "numbered from 1"],
    [
      "too few axes",
      [4, 2, 2],
      layer("Permute", { dims: [2, 1] }),
      "dims [2,1] need rank 3, received rank 4",
    ],
    [
      "to repeat no vector",
      [4, 2],
      layer("RepeatVector", { n: 3 }),
      "needs [batch, features], received rank 3",
    ],
    ["to repeat it 0 times", [4], layer("RepeatVector", { n: 0 }), "'repeat_vector'.n"],
    [
      "images of steps",
      [4, 2],
      layer("AveragePooling2D"),
      "needs [batch, height, width, channels], received rank 3",
    ],
    [
      "steps of images",
      [4, 2, 1],
      layer("GlobalMaxPooling1D"),
      "needs [batch, steps, channels], received rank 4",
    ],
    ["windows of 0", [4, 2], layer("MaxPooling1D", { pool_size: 0 }), "expected a positive integer"],
    [
      "windows of another rank",
      [4, 4, 2],
      layer("MaxPooling2D", { pool_size: [2] }),
      "expected one or two positive integers",
    ],
    [
      "windows larger than their input",
      [2, 1],
      layer("AveragePooling1D", { pool_size: 3 }),
      "window of 3 does not fit size 2",
    ],
    ["causal padding", [4, 2], layer("MaxPooling1D", { padding: "causal" }), "one of valid, same"],
    ["to crop everything", [4, 4, 1], layer("Cropping2D", { cropping: 2 }), "sizes [4,4] are too small"],
    [
      "negative crops",
      [4, 1],
      layer("Cropping1D", { cropping: [-1, 0] }),
      "expected an integer of at least 0 or a pair of them",
    ],
    [
      "margins of another rank",
      [4, 4, 1],
      layer("ZeroPadding2D", { padding: [1, 1, 1] }),
      "a pair or a pair of pairs",
    ],
    [
      "bicubic interpolation",
      [4, 4, 1],
      layer("UpSampling2D", { interpolation: "bicubic" }),
      "expected one of nearest, bilinear",
    ],
    [
      "to interpolate without bound",
      [100_000, 1, 1],
      layer("UpSampling2D", { interpolation: "bilinear" }),
      "100000 pixels are too many to interpolate to 200000",
    ],
    [
      "interpolation along steps",
      [4, 1],
      layer("UpSampling1D", { interpolation: "bilinear" }),
      "no such option",
    ],
    [
      "steps of vectors",
      [4],
      layer("TimeDistributed", { layer: dense }),
      "needs [batch, steps, ...], received rank 2",
    ],
    ["no layer for each step", [4, 4], layer("TimeDistributed"), "time_distributed'.layer"],
    [
      "options of that layer",
      [4, 4],
      layer("TimeDistributed", { layer: layer("Dense", { units: 2, bias: 1 }) }),
      "layer 'dense'.bias: no such option",
    ],
    [
      "statistics of steps",
      [4, 4],
      layer("TimeDistributed", { layer: layer("BatchNormalization") }),
      "keeps statistics of each step",
    ],
  ];
  for (const [title, shape, declared, message] of cases)
    test(title, () => {
      const build = () =>
        training({ architecture: sequential(shape, declared), x: { shape: [2, ...shape], data: [] } });
      expect(build).toThrow(InvalidModelError);
      expect(build).toThrow(message);
    });

  test("and train time-distributed normalisation that is frozen", () => {
    const frozen = layer("TimeDistributed", { layer: layer("BatchNormalization", { trainable: false }) });
    const x = { shape: [2, 3, 4], data: [...normals("x", [2, 3, 4])] };
    expect(training({ architecture: sequential([3, 4], frozen), x }).y.shape).toEqual([2, 3, 4]);
  });
});
