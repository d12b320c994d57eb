/**
 * Losses and their gradients against Keras (test/fixtures/keras/losses.json) and TensorFlow.js. Float32 against
 * float32: 1e-5·(1 + |v|). Targets here are always class numbers.
 */

import { readFileSync } from "node:fs";
import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { tf } from "../../../test/support/witness.ts";
import { gradients } from "../../autodiff/backward.ts";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import type { LayerValue } from "../layer.ts";
import { lossOf } from "./table.ts";

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
  name: string,
  x: { shape: number[]; data: ArrayLike<number> },
  labels: readonly number[],
  layer: (graph: GraphBuilder, x: Value) => LayerValue = (_, value) => ({ value }),
) {
  const graph = new GraphBuilder("loss");
  const input = graph.input("x", "FP32", x.shape);
  const y = graph.input("y", "INT64", [labels.length]);
  const loss = lossOf(name)(graph, layer(graph, input), y);
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

describe("mean squared error", () => {
  test.each(["mean_squared_error", "mse", "MeanSquaredError"])("%s is Keras's over one-hot targets", (name) =>
    expectAsKeras(name, KERAS.mse!),
  );
});

describe("refused", () => {
  test("an unknown loss, naming the nearest", () => {
    expect(() => lossOf("sparse_categorical_crossentropi")).toThrow(UnknownComponentError);
    expect(() => lossOf("sparse_categorical_crossentropi")).toThrow(
      "did you mean 'sparse_categorical_crossentropy'?",
    );
    expect(() => lossOf("constructor")).toThrow(UnknownComponentError);
  });

  test.each(["mse", "categorical_crossentropy"])("%s of an output that is no vector of classes", (name) => {
    const graph = new GraphBuilder("loss");
    const image = graph.input("x", "FP32", [2, 3, 3]);
    const labels = graph.input("y", "INT64", [2]);
    expect(() => lossOf(name)(graph, { value: image }, labels)).toThrow(InvalidModelError);
    expect(() => lossOf(name)(graph, { value: image }, labels)).toThrow(
      "received [2,3,3], expected [batch, classes]",
    );
  });
});
