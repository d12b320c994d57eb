/**
 * Losses and their gradients against Keras (test/fixtures/keras/losses.json, loss-options.json) and TensorFlow.js. Float32 against
 * float32: 1e-5·(1 + |v|). Targets here are
 * always class numbers.
 */

import { readFileSync } from "node:fs";
import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { tf } from "../../../test/support/witness.ts";
import { gradients } from "../../autodiff/backward.ts";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import type { KerasObject } from "../../protocol/jobs.ts";
import { activationOf } from "../activations/table.ts";
import { lookUp } from "../config-reader.ts";
import type { LayerValue } from "../layer.ts";
import { LOSSES, lossOf } from "./table.ts";

type Case = {
  prediction: { shape: number[]; data: number[] };
  labels: number[];
  loss: number;
  gradient: { data: number[] };
};
const KERAS: Record<string, Case> = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/keras/losses.json", import.meta.url), "utf8"),
);
const TOLERANCE = 1e-5;

/** Loss and its gradient with respect to what the last layer gets. */
async function run(
  name: unknown,
  x: { shape: number[]; data: ArrayLike<number> },
  labels: readonly number[],
  layer: (graph: GraphBuilder, x: Value) => LayerValue = (_, value) => ({ value }),
) {
  const graph = new GraphBuilder("loss");
  const input = graph.input("x", "FP32", x.shape);
  const y = graph.input("y", "INT64", [labels.length]);
  const loss = lossOf(name).append(graph, layer(graph, input), y);
  expect(loss.shape).toEqual([]);
  graph.output(gradients(graph, loss, [input])[0]!, "dx");
  graph.output(loss, "loss");
  const found = await runOnce(graph, {
    x: { shape: x.shape, data: Float32Array.from(x.data) },
    y: { shape: [labels.length], data: BigInt64Array.from(labels, BigInt), datatype: "INT64" },
  });
  return { loss: Number(found.loss!.data[0]), gradient: found.dx!.data as Float32Array };
}

const softmax = (graph: GraphBuilder, x: Value): LayerValue => ({
  value: graph.op("Softmax", [x], { axis: -1 }),
  logits: { value: x, activation: "softmax" },
});
const sigmoid = (graph: GraphBuilder, x: Value): LayerValue => ({
  value: graph.op("Sigmoid", [x]),
  logits: { value: x, activation: "sigmoid" },
});

async function expectAsKeras(name: string, given: Case, layer?: typeof softmax) {
  const found = await run(name, given.prediction, given.labels, layer);
  expect(worstError([found.loss], [given.loss])).toBeLessThan(TOLERANCE);
  expect(worstError(found.gradient, given.gradient.data)).toBeLessThan(TOLERANCE);
}

describe("cross-entropy", () => {
  test.each(["sparse_categorical_crossentropy", "categorical_crossentropy"])(
    "%s after a softmax is Keras's from_logits",
    (name) => expectAsKeras(name, KERAS.logits!, softmax),
  );

  test("scores ten thousand apart give Keras's finite loss and gradient", () =>
    expectAsKeras("sparse_categorical_crossentropy", KERAS.extreme!, softmax));

  test("outputs that are no softmax are normalised and clipped, as Keras does", async () => {
    await expectAsKeras("categorical_crossentropy", KERAS.probabilities!);
    await expectAsKeras("sparse_categorical_crossentropy", KERAS.probabilities_sparse!);
  });

  test("a probability of nought is clipped: finite loss, finite gradient", async () => {
    const found = await run(
      "categorical_crossentropy",
      { shape: [2, 3], data: [1, 0, 0, 0, 0.5, 0.5] },
      [1, 0],
    );
    // -log(1e-7), which is what Keras calls the probability nought.
    expect(found.loss).toBeCloseTo(-Math.log(1e-7), 4);
    expect([...found.gradient].every(Number.isFinite)).toBe(true);
  });

  test("a sigmoid's outputs count as probabilities of classes", async () => {
    const data = normals("x", [4, 3]);
    const labels = [0, 2, 1, 1];
    const found = await run("categorical_crossentropy", { shape: [4, 3], data }, labels, sigmoid);
    const oneHot = tf.cast(tf.oneHot(labels, 3), "float32");
    const { value, grad } = tf.valueAndGrad((x) => {
      const p = tf.sigmoid(x);
      return tf.neg(tf.mean(tf.sum(tf.mul(oneHot, tf.log(tf.div(p, tf.sum(p, -1, true)))), -1)));
    })(tf.tensor(data, [4, 3]));
    expect(worstError([found.loss], value.dataSync())).toBeLessThan(TOLERANCE);
    expect(worstError(found.gradient, grad.dataSync())).toBeLessThan(TOLERANCE);
  });
});

const OPTIONS: {
  loss: KerasObject;
  activation: string;
  x: { shape: number[]; data: number[] };
  labels: number[];
  value: number;
  gradient: number[];
}[] = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/keras/loss-options.json", import.meta.url), "utf8"),
);

/** A last activation as a layer leaves it. */
const activated =
  (name: string) =>
  (graph: GraphBuilder, x: Value): LayerValue =>
    activationOf(name)(graph, { value: x });

describe("every loss in its options", () => {
  test.each(
    OPTIONS.map((given) => {
      const { name, reduction, ...options } = given.loss.config;
      return [`${name} ${JSON.stringify(options)} of ${given.activation} [${given.x.shape}]`, given] as const;
    }),
  )("%s is Keras's, value and gradient", async (_, given) => {
    const found = await run(given.loss, given.x, given.labels, activated(given.activation));
    expect(worstError([found.loss], [given.value])).toBeLessThan(TOLERANCE);
    expect(worstError(found.gradient, given.gradient)).toBeLessThan(TOLERANCE);
  });

  test("is among those compared", () => {
    const definitions = new Set(OPTIONS.map(({ loss }) => lookUp(LOSSES, "loss", loss.class_name)));
    for (const [name, definition] of Object.entries(LOSSES))
      expect({ name, compared: definitions.has(definition) }).toEqual({ name, compared: true });
  });
});

describe("scores ten thousand from nought", () => {
  const SCORES = [1e4, -1e4, 90, -90, 0, 1e4, -1e4, 0];
  const loss = (class_name: string, config = {}) => ({ class_name, config });
  test.each<[unknown, string, number]>([
    ["binary_crossentropy", "sigmoid", 1],
    ["binary_crossentropy", "sigmoid", 4],
    ["binary_crossentropy", "softmax", 4],
    ["categorical_crossentropy", "sigmoid", 4],
    [loss("CategoricalCrossentropy", { from_logits: true, label_smoothing: 0.1 }), "linear", 4],
    [loss("CategoricalCrossentropy", { label_smoothing: 0.1 }), "softmax", 4],
    ...[0, 0.5, 1, 2].flatMap((gamma): [unknown, string, number][] => [
      [loss("BinaryFocalCrossentropy", { gamma }), "sigmoid", 1],
      [loss("CategoricalFocalCrossentropy", { gamma }), "softmax", 4],
      [loss("CategoricalFocalCrossentropy", { gamma }), "sigmoid", 4],
    ]),
    ["kl_divergence", "softmax", 4],
    ["kl_divergence", "sigmoid", 4],
    ["poisson", "sigmoid", 1],
    ["log_cosh", "linear", 1],
    ["huber", "linear", 4],
    ["mean_absolute_error", "linear", 4],
    ["squared_hinge", "linear", 1],
    ["categorical_hinge", "linear", 4],
    ["cosine_similarity", "linear", 4],
  ])("give %j of %s outputs (%i) a finite value and gradient", async (given, activation, outputs) => {
    const rows = SCORES.length / outputs;
    const labels = Array.from({ length: rows }, (_, i) => i % 2);
    for (const flipped of [labels, labels.map((label) => 1 - label)]) {
      const found = await run(
        given,
        { shape: [rows, outputs], data: SCORES },
        flipped,
        activated(activation),
      );
      expect([found.loss, ...found.gradient].filter((v) => !Number.isFinite(v))).toEqual([]);
    }
  });
});

describe("mean squared error", () => {
  test.each(["mean_squared_error", "mse", "MeanSquaredError"])("%s is Keras's over one-hot targets", (name) =>
    expectAsKeras(name, KERAS.mse!),
  );
});

describe("of outputs that are no numbers", () => {
  // As Keras 3 has it for every one of them: a loss that stayed finite would hide that a run has diverged.
  const ends = ["linear", "softmax", "sigmoid"];
  test.each(Object.keys(LOSSES))("%s is no number", async (name) => {
    for (const end of ends) {
      const x = { shape: [2, 3], data: new Float32Array(6).fill(Number.NaN) };
      const { loss } = await run(name, x, [0, 2], (graph, value) => activationOf(end)(graph, { value }));
      expect({ end, loss }).toEqual({ end, loss: Number.NaN });
    }
  });
});

describe("refused", () => {
  test("an unknown loss, naming the nearest", () => {
    expect(() => lossOf("sparse_categorical_crossentropi")).toThrow(UnknownComponentError);
    expect(() => lossOf("sparse_categorical_crossentropi")).toThrow(
      "did you mean 'sparse_categorical_crossentropy'?",
    );
    expect(() => lossOf("constructor")).toThrow(UnknownComponentError);
  });

  test.each<[unknown, string]>([
    [{ class_name: "Huber", config: { delta: -1 } }, "loss.delta"],
    [{ class_name: "Huber", config: { delat: 1 } }, "did you mean 'delta'"],
    [{ class_name: "BinaryCrossentropy", config: { reduction: "sum" } }, "loss.reduction"],
    [{ class_name: "BinaryCrossentropy", config: { axis: 0 } }, "loss.axis"],
    [{ class_name: "BinaryCrossentropy", config: { from_logits: 1 } }, "loss.from_logits"],
    [{ class_name: "CategoricalCrossentropy", config: { label_smoothing: 1.5 } }, "loss.label_smoothing"],
    [
      { class_name: "SparseCategoricalCrossentropy", config: { label_smoothing: 0.1 } },
      "loss.label_smoothing",
    ],
    [{ class_name: "SparseCategoricalCrossentropy", config: { ignore_class: 0 } }, "loss.ignore_class"],
    [{ class_name: "BinaryFocalCrossentropy", config: { gamma: -1 } }, "loss.gamma"],
    [{ config: {} }, "expected a name or {class_name, config}"],
  ])("%j, naming the option", (given, words) => {
    expect(() => lossOf(given)).toThrow(InvalidModelError);
    expect(() => lossOf(given)).toThrow(words);
  });

  test.each(["softmax", "sigmoid"])("from_logits after a %s, which gives no logits", (name) => {
    const graph = new GraphBuilder("loss");
    const output = activated(name)(graph, graph.input("x", "FP32", [2, 3]));
    const labels = graph.input("y", "INT64", [2]);
    for (const class_name of ["CategoricalCrossentropy", "BinaryCrossentropy"])
      expect(() =>
        lossOf({ class_name, config: { from_logits: true } }).append(graph, output, labels),
      ).toThrow(`the network ends with ${name}, which gives no logits`);
  });

  test.each([
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "kl_divergence",
    "cosine_similarity",
  ])("%s of one output, which has nothing to be compared with", (name) => {
    const graph = new GraphBuilder("loss");
    const output = { value: graph.input("x", "FP32", [2, 1]) };
    const labels = graph.input("y", "INT64", [2]);
    expect(() => lossOf(name).append(graph, output, labels)).toThrow("binary_crossentropy takes one output");
  });

  test.each(["mse", "categorical_crossentropy"])("%s of an output that is no vector of classes", (name) => {
    const graph = new GraphBuilder("loss");
    const image = graph.input("x", "FP32", [2, 3, 3]);
    const labels = graph.input("y", "INT64", [2]);
    expect(() => lossOf(name).append(graph, { value: image }, labels)).toThrow(InvalidModelError);
    expect(() => lossOf(name).append(graph, { value: image }, labels)).toThrow(
      "received [2,3,3] for class numbers of [2], which would be [2,3] for it",
    );
  });
});
