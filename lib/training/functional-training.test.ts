/**
 * Functional models through the whole of training and serving: the rewrites of a step's graph keep its values and
 * gradients where branches meet, frozen weights stay as they were, and the served graph answers as the trained one.
 *
 * A rewrite changes the order of float32 sums of at most some hundred terms of unit size: 2e-5·(1 + |v|).
 */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { normals, runOnce, worstError } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { gradients } from "../autodiff/backward.ts";
import { compileInference } from "../nn/inference-graph.ts";
import { inKerasOrder } from "../nn/layer.ts";
import { lossOf } from "../nn/losses/table.ts";
import { buildNetwork, parseNetwork } from "../nn/network.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { poolBeforeActivation } from "../onnx/passes/pool-before-activation.ts";
import { poolInPhases } from "../onnx/passes/pool-in-phases.ts";
import { trimBorders } from "../onnx/passes/trim-borders.ts";
import { optimizerOf } from "../optim/table.ts";
import { planWeights } from "./step-graph.ts";
import { TrainingRun } from "./training-run.ts";
import { namedWeights } from "./weight-layout.ts";

const TOLERANCE = 2e-5;
const SHAPE = [9, 9, 1];

type Config = Record<string, unknown>;
type Layer = [name: string, className: string, inputs: string[], config?: Config];

/** In the dialect of Keras 2; an input "a:1" is the second application of a. */
const functional = (...layers: Layer[]) =>
  parseNetwork({
    class_name: "Functional",
    config: {
      name: "net",
      layers: [
        { class_name: "InputLayer", name: "x", config: { batch_shape: [null, ...SHAPE] }, inbound_nodes: [] },
        ...layers.map(([name, class_name, inputs, config = {}]) => ({
          class_name,
          name,
          config: { name, ...config },
          inbound_nodes: inputs.map((application) =>
            application.split("+").map((input) => {
              const [from, at = "0"] = input.split(":");
              return [from, Number(at), 0, {}];
            }),
          ),
        })),
      ],
      input_layers: [["x", 0, 0]],
      output_layers: [[layers.at(-1)![0], 0, 0]],
    },
  });

const conv = (name: string, inputs: string[], config: Config = {}): Layer => [
  name,
  "Conv2D",
  inputs,
  { filters: 2, kernel_size: 2, ...config },
];
const OUT: Layer[] = [
  ["flat", "Flatten", ["end"]],
  ["out", "Dense", ["flat"], { units: 3, activation: "softmax" }],
];

const NETWORKS: Record<string, Layer[]> = {
  "a pooled activation that is read elsewhere too": [
    conv("c", ["x"], { activation: "relu" }),
    ["pool", "MaxPooling2D", ["c"]],
    conv("d", ["c"], { strides: 2 }),
    ["end", "Add", ["pool+d"]],
  ],
  "a convolution before its activation and after its pooling": [
    conv("c", ["x"]),
    ["act", "Activation", ["c"], { activation: "tanh" }],
    ["pool", "MaxPooling2D", ["act"]],
    ["pool2", "MaxPooling2D", ["c"]],
    ["end", "Concatenate", ["pool+pool2"]],
  ],
  "branches that read different parts of one image": [
    conv("c", ["x"], { kernel_size: 3 }),
    ["pool", "MaxPooling2D", ["c"], { pool_size: 2 }],
    conv("d", ["c"], { kernel_size: 1, strides: 2, padding: "valid" }),
    ["corner", "MaxPooling2D", ["d"], { pool_size: 2, strides: 1 }],
    ["end", "Multiply", ["pool+corner"]],
  ],
  "a residual block of an odd image, pooled": [
    conv("c", ["x"], { padding: "same" }),
    ["norm", "BatchNormalization", ["c"]],
    conv("d", ["norm"], { padding: "same", kernel_size: 3 }),
    ["sum", "Add", ["d+c"]],
    ["act", "Activation", ["sum"], { activation: "relu" }],
    ["end", "MaxPooling2D", ["act"]],
  ],
  "a shared convolution, pooled twice": [
    conv("first", ["x"]),
    conv("shared", ["first", "shared:0"], { activation: "relu" }),
    ["pool", "MaxPooling2D", ["shared:0", "shared:1"]],
    ["end", "Maximum", ["pool:0+pool:1"]],
  ],
  "a frozen first convolution beside a trained one": [
    conv("still", ["x"], { activation: "relu", trainable: false }),
    conv("c", ["x"], { activation: "relu" }),
    ["sum", "Average", ["still+c"]],
    ["end", "MaxPooling2D", ["sum"]],
  ],
};

/** Output and gradients of Σ c·y by weight, with or without the rewrites of a training step. */
async function trainedOnce(layers: Layer[], rewritten: boolean) {
  const network = functional(...layers, ...OUT);
  const plan = planWeights(network);
  const graph = new GraphBuilder("net");
  const x = graph.input("x", "FP32", [2, ...SHAPE]);
  const values = new Map<string, Value>();
  const built = buildNetwork(network, graph, [x], {
    training: true,
    weightValue(spec) {
      const value = graph.input(spec.name, "FP32", spec.shape);
      values.set(spec.name, value);
      return value;
    },
  });
  const y = inKerasOrder(graph, built.outputs[0]!);
  const c = graph.initializer("c", { datatype: "FP32", shape: [2, 3], data: normals("c", [2, 3]) });
  const product = graph.op("Mul", [y, c]);
  const loss = graph.op("ReduceSum", [product], { keepdims: 0 });
  const trained = plan.trained.map(({ name }) => values.get(name)!);
  if (rewritten) {
    const keep = new Set([y.name, loss.name, ...[...built.updates.values()].map(({ name }) => name)]);
    poolBeforeActivation(graph, keep);
    trimBorders(graph, keep);
    poolInPhases(graph, new Set(trained.map(({ name }) => name)), keep);
  }
  gradients(graph, loss, trained).forEach((gradient, i) => {
    graph.output(gradient, `gradient of ${plan.trained[i]!.name}`);
  });
  graph.output(y, "y");
  const fed = (name: string, shape: number[]) => ({ shape, data: normals(name, shape) });
  return runOnce(graph, {
    x: fed("x", [2, ...SHAPE]),
    ...Object.fromEntries(built.weights.map(({ name, shape }) => [name, fed(name, shape)])),
  });
}

describe("the rewrites of a training step", () => {
  for (const [title, layers] of Object.entries(NETWORKS))
    test(`keep outputs and gradients of ${title}`, async () => {
      const [plain, rewritten] = [await trainedOnce(layers, false), await trainedOnce(layers, true)];
      expect(Object.keys(rewritten)).toEqual(Object.keys(plain));
      for (const [name, { data }] of Object.entries(plain)) {
        const error = worstError(rewritten[name]!.data as Float32Array, data as Float32Array);
        expect({ name, exact: error < TOLERANCE }).toEqual({ name, exact: true });
      }
    });
});

describe("a trained functional model", () => {
  const count = 24;
  const features = normals("features", [count, ...SHAPE]);
  const examples = labelled(
    SHAPE,
    "FP32",
    features,
    Uint8Array.from({ length: count }, (_, i) => (i * i) % 3),
  );
  const network = functional(
    conv("still", ["x"], { trainable: false }),
    ["norm", "BatchNormalization", ["still"], { trainable: false }],
    conv("c", ["norm"], { padding: "same" }),
    ["moving", "BatchNormalization", ["c"]],
    ["end", "Add", ["moving+norm"]],
    ...OUT,
  );
  const train = async (epochs: number) => {
    const run = new TrainingRun(
      {
        network,
        objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
        optimizer: optimizerOf("Adam"),
        epochs,
        batchSize: 8,
        seed: 3,
        validationSplit: 0,
        threads: 1,
      },
      examples,
    );
    try {
      const before = structuredClone(run.state());
      await run.run();
      const { weights, statistics } = run.state();
      const trained = namedWeights(run.plan.trainedLayout, weights);
      const still = namedWeights(run.plan.statisticsLayout, statistics);
      return { still, trained, before: namedWeights(run.plan.statisticsLayout, before.statistics) };
    } finally {
      await run.close();
    }
  };

  test("leaves frozen weights and statistics as they were, to the bit, and moves the others", async () => {
    const { still, before, trained } = await train(2);
    expect([...trained.keys()]).toEqual([
      "c/kernel",
      "c/bias",
      "moving/gamma",
      "moving/beta",
      "out/kernel",
      "out/bias",
    ]);
    for (const [name, { data }] of still)
      expect({ name, moved: data.join() !== before.get(name)!.data.join() }).toEqual({
        name,
        moved: name.startsWith("moving/"),
      });
  });

  test("is served with the answers that it was trained to give", async () => {
    const { still, trained } = await train(1);
    const weights = new Map([...still, ...trained]);
    const { bytes, signature } = compileInference(network, weights);
    expect(signature).toEqual({
      inputs: [{ name: "x", datatype: "FP32", shape: [-1, ...SHAPE] }],
      outputs: [{ name: "out", datatype: "FP32", shape: [-1, 3] }],
    });
    const served = await InferenceSession.create(bytes);
    const fed = { shape: [5, ...SHAPE], data: features.slice(0, 5 * 81) };
    const graph = new GraphBuilder("plain");
    const built = buildNetwork(network, graph, [graph.input("x", "FP32", fed.shape)], {
      training: false,
      weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
    });
    graph.output(inKerasOrder(graph, built.outputs[0]!), "out");
    const plain = await runOnce(graph, { x: fed, ...Object.fromEntries(weights) });
    try {
      const { out } = await served.run({ x: new Tensor("float32", fed.data, fed.shape) });
      expect(worstError(out!.data as Float32Array, plain.out!.data as Float32Array)).toBeLessThan(TOLERANCE);
    } finally {
      await served.release();
    }
  });
});
