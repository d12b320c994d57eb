/**
 * One step of SGD of networks with several inputs and outputs, loss weights, class weights and weighed examples, as
 * Keras 3 takes it (test/fixtures/keras/objectives.json): each output's loss and accuracy, the total, every weight.
 */

import { readFileSync } from "node:fs";
import { worstError } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { type Column, type Examples, memoryColumn } from "../data/examples.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { objectiveOf } from "./read-objective.ts";
import { planWeights } from "./step-graph.ts";
import { TrainingRun } from "./training-run.ts";
import { namedWeights } from "./weight-layout.ts";

type Listed = { shape: number[]; data: number[] };
type Case = {
  title: string;
  architecture: unknown;
  losses: string[];
  lossWeights: number[] | null;
  classWeights: Record<string, number> | null;
  sampleWeights: number[] | null;
  x: Record<string, Listed>;
  y: Record<string, Listed>;
  weights: Record<string, number[]>;
  logs: Record<string, number>;
  after: Record<string, number[]>;
};
const KERAS: Case[] = JSON.parse(
  readFileSync(new URL("../../test/fixtures/keras/objectives.json", import.meta.url), "utf8"),
);
const TOLERANCE = 1e-5;

function examplesOf({ x, y, sampleWeights }: Case): Examples {
  const floats = (name: string, { shape, data }: Listed): Column =>
    memoryColumn({ name, shape: shape.slice(1), datatype: "FP32" }, Float32Array.from(data));
  const targets = Object.entries(y).map(([name, listed]) =>
    listed.shape.length === 1
      ? memoryColumn(
          { name, shape: [], datatype: "UINT8", labelNames: ["a", "b", "c"] },
          Uint8Array.from(listed.data),
        )
      : floats(name, listed),
  );
  const weights = sampleWeights && floats("weight", { shape: [sampleWeights.length], data: sampleWeights });
  // The other way round: columns are found by name.
  const inputs = Object.entries(x).map(([name, listed]) => floats(name, listed));
  return { count: 6, inputs: inputs.toReversed(), targets, ...(weights && { weights }) };
}

test.each(KERAS)("$title", async (given) => {
  const network = parseNetwork(given.architecture);
  const { losses, lossWeights, classWeights } = given;
  const spec = {
    loss: losses.length === 1 ? losses[0]! : losses,
    ...(lossWeights && { lossWeights }),
    ...(classWeights && { classWeights }),
  };
  const run = new TrainingRun(
    {
      network,
      objective: objectiveOf(spec, network, planWeights(network)),
      optimizer: optimizerOf({ class_name: "SGD", config: { learning_rate: 0.1 } }),
      epochs: 1,
      batchSize: 6,
      seed: 0,
      validationSplit: 0,
      threads: 1,
    },
    examplesOf(given),
  );
  try {
    const begin = run.snapshot();
    for (const [name, { data }] of namedWeights(run.plan.trainedLayout, begin.state.weights))
      data.set(given.weights[name]!);
    run.restore(begin);
    const [record] = await run.run();
    expect(worstError([record!.loss], [given.logs.loss!])).toBeLessThan(TOLERANCE);
    if (losses.length === 1) expect(record!.accuracy).toBeCloseTo(given.logs.accuracy!, 6);
    for (const [name, { loss, accuracy }] of Object.entries(record!.outputs ?? {})) {
      expect(worstError([loss], [given.logs[`${name}_loss`]!])).toBeLessThan(TOLERANCE);
      if (name === "kind") expect(accuracy).toBeCloseTo(given.logs.kind_accuracy!, 6);
      else expect(accuracy).toBeUndefined();
    }
    for (const [name, { data }] of namedWeights(run.plan.trainedLayout, run.state().weights))
      expect(worstError(data, given.after[name]!)).toBeLessThan(TOLERANCE);
  } finally {
    await run.close();
  }
});

describe("refused before data is read", () => {
  const two = parseNetwork(KERAS[0]!.architecture);
  const one = parseNetwork(KERAS[3]!.architecture);
  const sparse = "sparse_categorical_crossentropy";
  test.each<[string, typeof two, Parameters<typeof objectiveOf>[0], string]>([
    ["too few losses", two, { loss: [sparse] }, "expected 2, one for each output ('kind', 'size')"],
    ["a loss for no output", two, { loss: { kind: sparse, sized: "mse" } }, "loss.sized"],
    ["no loss for an output", two, { loss: { kind: sparse } }, "loss.size: received nothing"],
    [
      "a loss weight that is no number",
      two,
      { loss: [sparse, "mse"], lossWeights: { kind: -1, size: 1 } },
      "lossWeights.kind: received -1, expected a number from 0",
    ],
    [
      "class weights of several outputs",
      two,
      { loss: [sparse, "mse"], classWeights: { 0: 1 } },
      "the network has 2 outputs",
    ],
    ["a class that is not there", one, { loss: sparse, classWeights: { 3: 1 } }, "a class from 0 to 2"],
    ["a class weight below nought", one, { loss: sparse, classWeights: { 1: -2 } }, "classWeights.1"],
  ])("%s", (_, network, spec, message) => {
    expect(() => objectiveOf(spec, network, planWeights(network))).toThrow(message);
  });

  test("classes for a loss over values, when the data comes", () => {
    const options = {
      network: one,
      objective: objectiveOf({ loss: "mse" }, one, planWeights(one)),
      optimizer: optimizerOf("SGD"),
      epochs: 1,
      batchSize: 2,
      seed: 0,
      validationSplit: 0,
      threads: 1,
    };
    const values = labelled([3], "FP32", new Float32Array(6), Uint8Array.of(0, 1));
    const twoWide = memoryColumn({ name: "kind", shape: [2], datatype: "FP32" }, new Float32Array(4));
    expect(() => new TrainingRun(options, { ...values, targets: [twoWide] })).toThrow(
      "Invalid data.targets.kind: received examples of shape [2], expected [3], the network's output 'kind'",
    );
  });
});
