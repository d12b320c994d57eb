/** Scores against scikit-learn's. */

import { ClassificationTally } from "./classification.ts";

const LABELS = ["a", "b", "c", "d", "e"];
const TRUTH = Uint8Array.of(0, 0, 1, 1, 1, 2, 2, 4, 4, 4, 4, 2);
/** In 1024ths, so that float32 holds them exactly. "b" is never predicted, "d" is predicted but never true. */
const PROBABILITIES = Float32Array.from(
  [
    [198, 1, 798, 21, 6],
    [7, 8, 846, 5, 158],
    [153, 3, 450, 172, 246],
    [781, 4, 138, 46, 55],
    [159, 4, 585, 167, 109],
    [185, 2, 376, 354, 107],
    [110, 1, 10, 424, 479],
    [750, 0, 87, 69, 118],
    [142, 2, 440, 168, 272],
    [299, 3, 202, 38, 482],
    [356, 0, 556, 87, 25],
    [24, 7, 109, 723, 161],
  ].flat(),
  (share) => share / 1024,
);

/**
 * From scikit-learn 1.9.0: confusion_matrix, precision_recall_fscore_support (zero_division=0, per class and
 * macro), accuracy_score, and log_loss on the probabilities.
 */
const EXPECTED = {
  matrix: [
    [0, 0, 2, 0, 0],
    [1, 0, 2, 0, 0],
    [0, 0, 1, 1, 1],
    [0, 0, 0, 0, 0],
    [1, 0, 2, 0, 1],
  ],
  precision: [0, 0, 0.14285714285714285, 0, 0.5],
  recall: [0, 0, 0.3333333333333333, 0, 0.25],
  f1: [0, 0, 0.2, 0, 0.3333333333333333],
  support: [2, 3, 3, 0, 4],
  macro: { precision: 0.12857142857142856, recall: 0.11666666666666665, f1: 0.10666666666666666 },
  accuracy: 0.16666666666666666,
  loss: 3.2812878940201795,
};

/** Sums of doubles in another order differ in their last bits only. */
const DIGITS = 14;

function scores(batches: readonly number[]) {
  const tally = new ClassificationTally(LABELS);
  let from = 0;
  for (const rows of batches) {
    tally.add(
      PROBABILITIES.subarray(from * LABELS.length, (from + rows) * LABELS.length),
      TRUTH.subarray(from, from + rows),
    );
    from += rows;
  }
  return tally.result();
}

describe("classification scores", () => {
  test.each([[[12]], [[5, 7]], [[1, 0, 11]]])("are scikit-learn's, in batches of %p", (batches) => {
    const { examples, accuracy, loss, macro, perClass, confusionMatrix } = scores(batches);
    expect(examples).toBe(12);
    expect(confusionMatrix).toEqual(EXPECTED.matrix);
    expect(perClass.map(({ label }) => label)).toEqual(LABELS);
    expect(perClass.map(({ support }) => support)).toEqual(EXPECTED.support);
    for (const score of ["precision", "recall", "f1"] as const) {
      for (const [k, value] of EXPECTED[score].entries())
        expect(perClass[k]![score]).toBeCloseTo(value, DIGITS);
      expect(macro[score]).toBeCloseTo(EXPECTED.macro[score], DIGITS);
    }
    expect(accuracy).toBeCloseTo(EXPECTED.accuracy, DIGITS);
    expect(loss).toBeCloseTo(EXPECTED.loss, DIGITS);
  });

  test("of a perfect classifier are one, and its loss is zero", () => {
    const tally = new ClassificationTally(["x", "y"]);
    tally.add(Float32Array.of(1, 0, 0, 1), Uint8Array.of(0, 1));
    expect(tally.result()).toMatchObject({
      accuracy: 1,
      loss: 0,
      macro: { precision: 1, recall: 1, f1: 1 },
    });
  });

  test("stay finite when a true class was given no probability", () => {
    const tally = new ClassificationTally(["x", "y"]);
    tally.add(Float32Array.of(0, 1), Uint8Array.of(0));
    expect(tally.result().loss).toBeCloseTo(-Math.log(1e-7), 10);
  });

  test("of no examples are zeros, not NaN", () => {
    const { accuracy, loss, macro, examples } = new ClassificationTally(["x", "y"]).result();
    expect([examples, accuracy, loss, macro]).toEqual([0, 0, 0, { precision: 0, recall: 0, f1: 0 }]);
  });

  test("are a copy: counting on does not change a result that was given", () => {
    const tally = new ClassificationTally(["x", "y"]);
    tally.add(Float32Array.of(1, 0), Uint8Array.of(0));
    const before = tally.result();
    tally.add(Float32Array.of(1, 0), Uint8Array.of(1));
    expect(before.confusionMatrix).toEqual([
      [1, 0],
      [0, 0],
    ]);
  });
});

test("counts of very many classes need no matrix", () => {
  const names = Array.from({ length: 50_000 }, (_, k) => String(k));
  const tally = new ClassificationTally(names);
  const certain = (predicted: number) => names.map((_, k) => (k === predicted ? 1 : 0));
  tally.add(Float32Array.from([...certain(49_999), ...certain(7)]), [49_999, 3]);
  const { accuracy, perClass, confusionMatrix, examples } = tally.result();
  expect({ accuracy, examples, confusionMatrix }).toEqual({
    accuracy: 0.5,
    examples: 2,
    confusionMatrix: [],
  });
  expect(perClass[49_999]).toMatchObject({ precision: 1, recall: 1, support: 1 });
  expect(perClass[7]).toMatchObject({ precision: 0, recall: 0, support: 0 });
  expect(perClass[3]).toMatchObject({ precision: 0, recall: 0, support: 1 });
});
