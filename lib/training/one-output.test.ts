/** Networks of one output: the loss takes the class number as the target, and the middle of its range decides. */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { labelled } from "../../test/support/labelled.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { compileEvaluationStep, planWeights } from "./step-graph.ts";

/** Raw scores as the features, and the classes they should be. */
const SCORES = [-2, -0.25, 0.25, 0.75, 3];
const LABELS = [0, 1, 0, 1, 1];

/** One weight of one: the output is the activation of the feature. */
async function evaluate(activation: string, loss: unknown) {
  const network = parseNetwork({
    class_name: "Sequential",
    config: {
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, 1] } },
        { class_name: "Dense", config: { units: 1, activation, use_bias: false } },
      ],
    },
  });
  const batchSize = SCORES.length;
  const data = labelled([1], "FP32", Float32Array.from(SCORES), Uint8Array.from(LABELS));
  const options = { network, objective: [{ loss: lossOf(loss), weight: 1 }], batchSize, data };
  const session = await InferenceSession.create(compileEvaluationStep(planWeights(network), options));
  const found = await session.run({
    "input/input": new Tensor("float32", Float32Array.from(SCORES), [batchSize, 1]),
    "target/dense": new Tensor("uint8", Uint8Array.from(LABELS), [batchSize]),
    weights: new Tensor("float32", Float32Array.of(1), [1]),
  });
  await session.release();
  return { loss: Number(found.loss!.data[0]), correct: Number(found.measures!.data[1]) };
}

const average = (of: (x: number, y: number) => number) =>
  SCORES.reduce((sum, x, i) => sum + of(x, LABELS[i]!), 0) / SCORES.length;
const entropy = average((x, y) => Math.log1p(Math.exp(y === 1 ? -x : x)));

describe("a network of one output", () => {
  test.each<[string, string, unknown, number, number]>([
    // Above a half: 0.25, 0.75 and 3 after the sigmoid, as scores above nought.
    ["sigmoid", "binary cross-entropy", "binary_crossentropy", entropy, 3],
    [
      "linear",
      "binary cross-entropy from logits",
      { class_name: "BinaryCrossentropy", config: { from_logits: true } },
      entropy,
      3,
    ],
    ["linear", "hinge", "hinge", average((x, y) => Math.max(0, 1 - (2 * y - 1) * x)), 3],
    // As a plain number: 0.75 and 3 are above a half.
    ["linear", "mean squared error", "mse", average((x, y) => (x - y) ** 2), 4],
  ])("that is %s counts what %s says right", async (activation, _, loss, value, correct) => {
    const found = await evaluate(activation, loss);
    expect(found.loss).toBeCloseTo(value, 5);
    expect(found.correct).toBe(correct);
  });
});
