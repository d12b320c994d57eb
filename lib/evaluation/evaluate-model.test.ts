/** Scoring a served model: right sums over batches, and clear words for a model that cannot be scored. */

import { classification } from "../../test/support/classification.ts";
import { labelled } from "../../test/support/labelled.ts";
import { type Examples, memoryColumn } from "../data/examples.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { OPSET } from "../onnx/graph.ts";
import { writeModel } from "../onnx/proto.ts";
import type { ClassificationScores } from "../protocol/models.ts";
import { type EvaluationOptions, evaluateModel } from "./evaluate-model.ts";

const LABELS = ["zero", "one", "two"];

/** Rows of as many features as classes: the features are the scores. */
function examples(rows: { scores: number[]; label: number }[], labelNames = LABELS): Examples {
  const features = Uint8Array.from(rows.flatMap(({ scores }) => scores));
  const labels = Uint8Array.from(rows, ({ label }) => label);
  return labelled([rows[0]!.scores.length], "UINT8", features, labels, labelNames);
}

async function classify(
  model: Uint8Array,
  given: Examples,
  options?: EvaluationOptions,
): Promise<ClassificationScores> {
  return classification(await evaluateModel(model, given, options));
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

const failureOf = async (bytes: Uint8Array, given: Examples, type = "INVALID_MODEL") => {
  const error = await evaluateModel(bytes, given).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ type, code: 400 });
  return (error as Error).message;
};

describe("an evaluation", () => {
  test("counts every example once, over several batches", async () => {
    const rows = Array.from({ length: 600 }, (_, i) => certain(i % 3, i < 599 ? i % 3 : 0));
    const { examples: count, accuracy, confusionMatrix } = await classify(softmax, examples(rows));
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
    const { accuracy, macro, loss } = await classify(softmax, examples(rows));
    expect(accuracy).toBe(0);
    expect(macro).toEqual({ precision: 0, recall: 0, f1: 0 });
    expect(loss).toBeCloseTo(-Math.log(1e-7), 6);
  });

  test("counts outputs that the data has no label for as classes that never occur", async () => {
    const rows = [certain(0, 0), certain(1, 2)];
    const { perClass, accuracy } = await classify(softmax, examples(rows, ["no", "yes"]));
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
    const { confusionMatrix, perClass, loss } = await classify(first, examples(rows, ["no", "yes"]));
    expect(confusionMatrix).toEqual([
      [1, 1],
      [0, 2],
    ]);
    expect(perClass.map(({ label }) => label)).toEqual(["no", "yes"]);
    expect(loss).toBeCloseTo(-Math.log(1e-7) / 4, 6);
    expect(await failureOf(first, examples(rows), "INVALID_INPUT")).toContain(
      "3 classes, expected at most 2",
    );
  });

  test("takes logits as such: their softmax, or of one its sigmoid", async () => {
    const minus = (x: number) => Math.log1p(Math.exp(-x));
    const identity = model((graph, x) => [graph.op("Identity", [x])], ["batch", 2]);
    const logits = { scores: { y0: "logits" } } as const;
    const pairs = examples([{ scores: [1, 4], label: 1 }], ["no", "yes"]);
    const several = await classify(identity, pairs, logits);
    expect(several.loss).toBeCloseTo(minus(3), 6);
    // Three tenths: below a half as a probability, above nought as a score.
    const score = model((graph, x) => [graph.op("Mul", [x, graph.scalar(0.1)])], ["batch", 1]);
    const one = examples([{ scores: [3], label: 1 }], ["no", "yes"]);
    const logit = await classify(score, one, logits);
    expect(logit).toMatchObject({ accuracy: 1, loss: expect.closeTo(minus(0.3), 6) });
    expect((await classify(score, one)).accuracy).toBe(0);
  });

  test("takes outputs for probabilities unless told otherwise, whatever they are called", async () => {
    const graph = new GraphBuilder("model");
    graph.output(graph.op("Softmax", [graph.input("x", "FP32", ["batch", 3])], { axis: -1 }), "constructor");
    const named = writeModel({
      graph: graph.build(),
      opsets: { "": OPSET },
      producer: "test",
      metadata: {},
    });
    const rows = [certain(0, 0), certain(1, 1)];
    expect((await classify(named, examples(rows))).loss).toBeCloseTo(0, 6);
  });

  test("gives the model no more examples at a time than it may, and scores the same", async () => {
    const rows = Array.from({ length: 600 }, (_, i) => certain(i % 3, i % 2));
    const whole = await evaluateModel(softmax, examples(rows));
    for (const [batchSize, batches] of [
      [7, 86],
      [1000, 3],
    ] as const) {
      let asked = 0;
      const cancelled = () => ++asked > batches;
      expect(await evaluateModel(softmax, examples(rows), { batchSize, cancelled })).toEqual(whole);
      expect(asked).toBe(batches);
    }
  });

  test("stops between batches when it is cancelled", async () => {
    const rows = Array.from({ length: 600 }, () => certain(0, 0));
    let asked = 0;
    const evaluated = evaluateModel(softmax, examples(rows), { cancelled: () => ++asked > 1 });
    await expect(evaluated).rejects.toMatchObject({ type: "CANCELLED" });
    expect(asked).toBe(2);
  });

  test("refuses bytes that are no model", async () => {
    expect(await failureOf(new Uint8Array(100), examples([certain(0, 0)]))).toContain("cannot be loaded");
    expect(await failureOf(softmax.subarray(0, 40), examples([certain(0, 0)]))).toContain("cannot be loaded");
  });

  test("refuses a model with fewer classes than the data", async () => {
    const message = await failureOf(
      softmax,
      examples([certain(0, 0)], [...LABELS, "three"]),
      "INVALID_INPUT",
    );
    expect(message).toContain("4 classes, expected at most 3");
  });

  test("refuses a model that takes other examples", async () => {
    const other = examples([{ scores: [1, 2, 3, 4], label: 0 }]);
    const message = await failureOf(softmax, other, "INVALID_INPUT");
    expect(message).toContain("examples of shape [4], expected [3], the network's input 'x'");
  });

  test("names the input for which the data has no column", async () => {
    const two = model((graph, x) => [graph.op("Add", [x, graph.input("z", "FP32", ["batch", 3])])]);
    expect(await failureOf(two, examples([certain(0, 0)]), "INVALID_INPUT")).toContain("a column 'z'");
  });

  test("scores values by their errors, and each of several outputs", async () => {
    const double = model((graph, x) => [
      graph.op("Softmax", [x], { axis: -1 }),
      graph.op("Mul", [x, graph.scalar(2)]),
    ]);
    const given = examples([certain(0, 0), certain(1, 2)]);
    const values = memoryColumn(
      { name: "y1", shape: [3], datatype: "FP32" },
      Float32Array.of(200, 0, 3, 0, 0, 200),
    );
    const targets = [{ ...given.targets[0]!, name: "y0" }, values];
    const found = await evaluateModel(double, { ...given, targets });
    expect(found).toMatchObject({ kind: "classification", accuracy: 0.5 });
    // Five exact answers and one that is 3 off, around a mean of 67 1/6.
    expect(found.outputs!.y1).toEqual({
      kind: "regression",
      examples: 2,
      loss: 1.5,
      mae: 0.5,
      rmse: Math.sqrt(1.5),
      r2: expect.closeTo(1 - 9 / (200 ** 2 * 2 + 9 - 403 ** 2 / 6), 12),
    });
  });

  test("refuses answers that are not [batch, classes]", async () => {
    const flat = model((graph, x) => [graph.op("ReduceSum", [x, graph.ints([1])], { keepdims: 0 })]);
    expect(await failureOf(flat, examples([certain(0, 0)]), "INVALID_INPUT")).toContain("received [batch]");
  });

  test("names the first example whose answer is no finite number", async () => {
    // log(x) of a score of zero is minus infinity.
    const log = model((graph, x) => [graph.op("Log", [x])]);
    const fine = { scores: [1, 2, 3], label: 2 };
    const rows = Array.from({ length: 300 }, (_, i) => (i === 270 ? certain(0, 0) : fine));
    expect(await failureOf(log, examples(rows))).toContain("gives -Infinity for example 270");
  });
});
