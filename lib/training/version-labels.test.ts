import { InvalidInputError } from "../errors.ts";
import type { TrainingSpec } from "../protocol/jobs.ts";
import { assertLabelsFit } from "./version-labels.ts";

const spec: TrainingSpec = {
  model: "m",
  architecture: { class_name: "Sequential", config: {} },
  data: { dataset: "d" },
  loss: "mse",
  optimizer: { class_name: "SGD", config: {} },
  epochs: 1,
  batchSize: 1,
  seed: 0,
  promote: true,
};
const recorded = { spec, initialWeights: undefined };
const names = (count: number, letters: number) => Array.from({ length: count }, () => "n".repeat(letters));

test("as many classes as words of a language model have room beside a request", () => {
  assertLabelsFit("word", names(50_000, 5), recorded);
});

test("names of classes that a version's record has no room for are refused by their target", () => {
  const refused = () => assertLabelsFit("species", names(100_000, 10), recorded);
  expect(refused).toThrow(InvalidInputError);
  expect(refused).toThrow(/^Invalid data\.targets\.species: received 100000 classes.* 1300001 bytes/);
});

test("a long request leaves them less room", () => {
  const config = { layers: "x".repeat(480_000) };
  const long = { ...spec, architecture: { class_name: "Sequential", config } };
  assertLabelsFit("word", names(30_000, 5), { ...recorded, spec: long });
  expect(() => assertLabelsFit("word", names(50_000, 5), { ...recorded, spec: long })).toThrow(
    InvalidInputError,
  );
});
