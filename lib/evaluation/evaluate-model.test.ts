/** Scoring a served model: right sums over batches, and clear words for a model that cannot be scored. */

import type { Examples } from "../data/examples.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { OPSET } from "../onnx/graph.ts";
import { writeModel } from "../onnx/proto.ts";
import { evaluateModel } from "./evaluate-model.ts";

const LABELS = ["zero", "one", "two"];

/** Rows of as many features as classes: the features are the scores. */
function examples(rows: { scores: number[]; label: number }[]): Examples {
  return {
    count: rows.length,
    featureShape: [rows[0]!.scores.length],
    featureType: "UINT8",
    features: Uint8Array.from(rows.flatMap(({ scores }) => scores)),
    labels: Uint8Array.from(rows, ({ label }) => label),
  };
}

function model(
  build: (graph: GraphBuilder, x: Value) => Value[],
  shape: (number | string)[] = ["batch", 3],
): Uint8Array {
  const graph = new GraphBuilder("model");
  const outputs = build(graph, graph.input("x", "FP32", shape));
  for (const [i, output] of outputs.entries()) graph.output(output, `y${i}`);
  return writeModel({ graph: graph.build(), opsets: { "": OPSET }, producer: "test", metadata: {} });
}

const softmax = model((graph, x) => [graph.op("Softmax", [x], { axis: -1 })]);
const certain = (label: number, predicted: number) => ({
  scores: [0, 1, 2].map((k) => (k === predicted ? 100 : 0)),
  label,
});

const failureOf = async (bytes: Uint8Array, given: Examples, labels = LABELS) => {
  const error = await evaluateModel(bytes, given, labels).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ type: "INVALID_MODEL", code: 400 });
  return (error as Error).message;
};

describe("an evaluation", () => {
  test("counts every example once, over several batches", async () => {
    const rows = Array.from({ length: 600 }, (_, i) => certain(i % 3, i < 599 ? i % 3 : 0));
    const {
      examples: count,
      accuracy,
      confusionMatrix,
    } = await evaluateModel(softmax, examples(rows), LABELS);
    expect(count).toBe(600);
    expect(accuracy).toBe(599 / 600);
    expect(confusionMatrix).toEqual([
      [200, 0, 0],
      [0, 200, 0],
      [1, 0, 199],
    ]);
  });

  test("scores a model that is always wrong with nothing", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => certain(i % 3, (i + 1) % 3));
    const { accuracy, macro, loss } = await evaluateModel(softmax, examples(rows), LABELS);
    expect(accuracy).toBe(0);
    expect(macro).toEqual({ precision: 0, recall: 0, f1: 0 });
    expect(loss).toBeCloseTo(-Math.log(1e-7), 6);
  });

  test("counts outputs that the data has no label for as classes that never occur", async () => {
    const rows = [certain(0, 0), certain(1, 2)];
    const { perClass, accuracy } = await evaluateModel(softmax, examples(rows), ["no", "yes"]);
    expect(accuracy).toBe(0.5);
    expect(perClass.map(({ label, support }) => [label, support])).toEqual([
      ["no", 1],
      ["yes", 1],
      ["2", 0],
    ]);
  });

  test("takes one output as the probability of the second of two classes", async () => {
    const first = model((graph, x) => [
      graph.op("Slice", [
        graph.op("Softmax", [x], { axis: -1 }),
        graph.ints([1]),
        graph.ints([2]),
        graph.ints([1]),
      ]),
    ]);
    const rows = [certain(0, 0), certain(1, 1), certain(1, 1), certain(0, 1)];
    const { confusionMatrix, perClass, loss } = await evaluateModel(first, examples(rows), ["no", "yes"]);
    expect(confusionMatrix).toEqual([
      [1, 1],
      [0, 2],
    ]);
    expect(perClass.map(({ label }) => label)).toEqual(["no", "yes"]);
    expect(loss).toBeCloseTo(-Math.log(1e-7) / 4, 6);
    expect(await failureOf(first, examples(rows))).toContain(
      "[4,1], expected float32 [4, 3 or more classes]",
    );
  });

  test("takes logits as such: their softmax, or of one its sigmoid", async () => {
    const minus = (x: number) => Math.log1p(Math.exp(-x));
    const identity = model((graph, x) => [graph.op("Identity", [x])], ["batch", 2]);
    const pairs = examples([{ scores: [1, 4], label: 1 }]);
    const several = await evaluateModel(identity, pairs, ["no", "yes"], () => false, "logits");
    expect(several.loss).toBeCloseTo(minus(3), 6);
    // Three tenths: below a half as a probability, above nought as a score.
    const score = model((graph, x) => [graph.op("Mul", [x, graph.scalar(0.1)])], ["batch", 1]);
    const one = examples([{ scores: [3], label: 1 }]);
    const logit = await evaluateModel(score, one, ["no", "yes"], () => false, "logits");
    expect(logit).toMatchObject({ accuracy: 1, loss: expect.closeTo(minus(0.3), 6) });
    expect((await evaluateModel(score, one, ["no", "yes"])).accuracy).toBe(0);
  });

  test("stops between batches when it is cancelled", async () => {
    const rows = Array.from({ length: 600 }, () => certain(0, 0));
    let asked = 0;
    const evaluated = evaluateModel(softmax, examples(rows), LABELS, () => ++asked > 1);
    await expect(evaluated).rejects.toMatchObject({ type: "CANCELLED" });
    expect(asked).toBe(2);
  });

  test("refuses bytes that are no model", async () => {
    expect(await failureOf(new Uint8Array(100), examples([certain(0, 0)]))).toContain("cannot be loaded");
    expect(await failureOf(softmax.subarray(0, 40), examples([certain(0, 0)]))).toContain("cannot be loaded");
  });

  test("refuses a model with fewer classes than the data", async () => {
    const message = await failureOf(softmax, examples([certain(0, 0)]), [...LABELS, "three"]);
    expect(message).toContain("gives float32 [1,3], expected float32 [1, 4 or more classes]");
  });

  test("refuses a model that takes other examples", async () => {
    const other = examples([{ scores: [1, 2, 3, 4], label: 0 }]);
    expect(await failureOf(softmax, other)).toContain("takes FP32 [-1,3], expected FP32 [-1,4]");
  });

  test("refuses a model of several inputs", async () => {
    const two = model((graph, x) => [graph.op("Add", [x, graph.input("z", "FP32", ["batch", 3])])]);
    expect(await failureOf(two, examples([certain(0, 0)]))).toContain("evaluation feeds exactly one");
  });

  test("refuses answers that are not [batch, classes]", async () => {
    const flat = model((graph, x) => [graph.op("ReduceSum", [x, graph.ints([1])], { keepdims: 0 })]);
    expect(await failureOf(flat, examples([certain(0, 0)]))).toContain("gives float32 [1]");
  });

  test("names the first example whose answer is no finite number", async () => {
    // log(x) of a score of zero is minus infinity.
    const log = model((graph, x) => [graph.op("Log", [x])]);
    const fine = { scores: [1, 2, 3], label: 2 };
    const rows = Array.from({ length: 300 }, (_, i) => (i === 270 ? certain(0, 0) : fine));
    expect(await failureOf(log, examples(rows))).toContain("gives -Infinity for example 270");
  });
});
