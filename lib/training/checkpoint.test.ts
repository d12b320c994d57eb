/** Checkpoints keep everything of a run, to the bit, and wrong files are refused. */

import { normals } from "../../test/support/graph-runner.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { parseNetwork } from "../nn/network.ts";
import type { TrainingSpec } from "../protocol/jobs.ts";
import { readCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { planWeights } from "./step-graph.ts";

const ARCHITECTURE = {
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      { class_name: "InputLayer", config: { batch_shape: [null, 3] } },
      { class_name: "Dense", config: { name: "first", units: 4 } },
      { class_name: "BatchNormalization", config: { name: "norm" } },
      { class_name: "Dense", config: { name: "last", units: 2 } },
    ],
  },
};

const SPEC: TrainingSpec = {
  model: "m",
  architecture: ARCHITECTURE,
  data: { dataset: "mnist", trainLimit: 10 },
  loss: "mse",
  optimizer: { class_name: "Adam", config: {} },
  epochs: 2,
  batchSize: 5,
  seed: 3,
  promote: true,
};

const FACTS = {
  spec: SPEC,
  dataset: {
    name: "mnist",
    digest: "sha256:00",
    labelNames: ["ä", "b"],
    trainExamples: 8,
    validationExamples: 2,
  },
  history: [
    {
      epoch: 1,
      loss: 0.1 + 0.2,
      accuracy: 1 / 3,
      validationLoss: 1e-300,
      validationAccuracy: 0,
      learningRate: 0.1,
      seconds: 1.5,
    },
  ],
  trainSeconds: 2.25,
};

const plan = planWeights(parseNetwork(ARCHITECTURE));
const state = {
  step: 4,
  weights: normals("weights", [plan.trainedLayout.size]),
  statistics: normals("statistics", [plan.statisticsLayout.size]),
  slots: new Map([
    ["momentum", normals("momentum", [plan.trainedLayout.size])],
    ["velocity", normals("velocity", [plan.trainedLayout.size])],
  ]),
};

describe("a checkpoint", () => {
  const read = readCheckpoint(writeCheckpoint(FACTS, plan, state));

  test("gives back the facts of its run", () => {
    const { weights: _, slots: __, ...facts } = read;
    expect(facts).toEqual({ ...FACTS, step: 4 });
  });

  test("gives back every weight and statistic under its layer's name, to the bit", () => {
    expect([...read.weights.keys()].sort()).toEqual([
      "first/bias",
      "first/kernel",
      "last/bias",
      "last/kernel",
      "norm/beta",
      "norm/gamma",
      "norm/moving_mean",
      "norm/moving_variance",
    ]);
    for (const [layout, flat] of [
      [plan.trainedLayout, state.weights],
      [plan.statisticsLayout, state.statistics],
    ] as const)
      for (const { name, shape, offset, size } of layout.slices)
        expect(read.weights.get(name)).toEqual({ shape, data: flat.slice(offset, offset + size) });
  });

  test("gives back every optimiser slot, so that the run could go on", () => {
    expect(read.slots.size).toBe(2 * plan.trainedLayout.slices.length);
    for (const [slot, flat] of state.slots)
      for (const { name, shape, offset, size } of plan.trainedLayout.slices)
        expect(read.slots.get(`${slot}/${name}`)).toEqual({ shape, data: flat.slice(offset, offset + size) });
  });

  test.each([
    ["another format", { format: "pt", facts: "{}" }, "format is 'pt'"],
    ["no format", {}, "format is ''"],
    ["no facts", { format: "moiety-checkpoint-1" }, "format is"],
    ["broken facts", { format: "moiety-checkpoint-1", facts: "{" }, "facts are not JSON"],
  ])("of %s is refused", (_, metadata, reason) => {
    const bytes = writeSafetensors(new Map(), metadata as Record<string, string>);
    expect(() => readCheckpoint(bytes)).toThrow(expect.objectContaining({ type: "INVALID_MODEL" }));
    expect(() => readCheckpoint(bytes)).toThrow(reason);
  });
});
