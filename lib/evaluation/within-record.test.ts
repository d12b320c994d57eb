/** However many classes a network tells apart, its scores fit the record of its version. */

import { ClassificationTally } from "../metrics/classification.ts";
import { MAX_RECORD_BYTES } from "../store/record-key.ts";
import { withinRecord } from "./within-record.ts";

function scoresOf(classes: number) {
  const tally = new ClassificationTally(Array.from({ length: classes }, (_, k) => `class ${k}`));
  tally.add(new Float32Array(classes).fill(1), [0]);
  return tally.result();
}

test("scores of some classes stay as they are", () => {
  const scores = scoresOf(100);
  expect(withinRecord(scores)).toBe(scores);
});

test("the matrix goes first, then what is said class by class", () => {
  const thousand = scoresOf(1000);
  expect(JSON.stringify(thousand).length).toBeGreaterThan(MAX_RECORD_BYTES);
  expect(withinRecord(thousand)).toEqual({ ...thousand, confusionMatrix: [] });
  const many = scoresOf(20_000);
  expect(withinRecord(many)).toEqual({ ...many, confusionMatrix: [], perClass: [] });
});

test("of several outputs together", () => {
  const [some, value] = [
    scoresOf(300),
    { kind: "regression" as const, examples: 1, loss: 1, mae: 1, rmse: 1, r2: null },
  ];
  const outputs = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`output ${i}`, some]));
  const kept = withinRecord({ ...some, outputs: { ...outputs, value } });
  expect(kept).toMatchObject({ confusionMatrix: [], perClass: [], accuracy: 1 });
  expect(kept.outputs!.value).toEqual(value);
  expect(kept.outputs!["output 8"]).toEqual({ ...some, confusionMatrix: [], perClass: [] });
});
