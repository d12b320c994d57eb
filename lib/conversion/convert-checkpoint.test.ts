/** What is served answers as what was trained; what does not is refused. */

import { normals } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import type { Examples } from "../data/examples.ts";
import type { NamedArrays } from "../formats/safetensors.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { RandomStream } from "../random/stream.ts";
import { type Checkpoint, readCheckpoint, writeCheckpoint } from "../training/checkpoint.ts";
import { TrainingRun } from "../training/training-run.ts";
import { convertCheckpoint, PARITY_EXAMPLES, PARITY_TOLERANCE } from "./convert-checkpoint.ts";

type Layer = [string, Record<string, unknown>];

const CLASSES = 3;

const architecture = (shape: number[], layers: Layer[]) => ({
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      { class_name: "InputLayer", config: { name: "image", batch_shape: [null, ...shape] } },
      ...layers.map(([class_name, config]) => ({ class_name, config })),
      { class_name: "Dense", config: { name: "scores", units: CLASSES, activation: "softmax" } },
    ],
  },
});

function pixels(count: number, featureShape: number[]): Examples {
  const size = featureShape.reduce((product, length) => product * length, 1);
  const random = RandomStream.named(8, "pixels");
  const features = Uint8Array.from({ length: count * size }, () => random.below(256));
  const labels = Uint8Array.from({ length: count }, () => random.below(CLASSES));
  return labelled(featureShape, "UINT8", features, labels, ["a", "b", "c"]);
}

/** A checkpoint after a few real steps, so that no statistic is still as it began. */
async function trained(layers: Layer[], examples: Examples): Promise<Checkpoint> {
  const declared = architecture(examples.inputs[0]!.shape, layers);
  const optimizer = { class_name: "Adam", config: { learning_rate: 0.01 } };
  const run = new TrainingRun(
    {
      network: parseNetwork(declared),
      objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
      optimizer: optimizerOf(optimizer),
      epochs: 1,
      batchSize: 32,
      seed: 1,
      validationSplit: 0,
      threads: 1,
    },
    examples,
  );
  try {
    const history = await run.run();
    const spec = {
      model: "m",
      architecture: declared,
      data: { dataset: "d" },
      loss: "sparse_categorical_crossentropy",
      optimizer,
      epochs: 1,
      batchSize: 32,
      seed: 1,
      promote: true,
    };
    const dataset = {
      name: "d",
      digest: "sha256:0",
      labelNames: ["a", "b", "c"],
      trainExamples: examples.count,
      validationExamples: 0,
    };
    const facts = { spec, dataset, history, trainSeconds: 1 };
    return readCheckpoint(writeCheckpoint(facts, run.plan, run.state()));
  } finally {
    await run.close();
  }
}

const RESCALING: Layer = ["Rescaling", { scale: 1 / 255 }];
const NETWORKS: [string, number[], Layer[]][] = [
  ["dense layers", [10], [RESCALING, ["Dense", { units: 8, activation: "relu" }]]],
  [
    "dropout",
    [10],
    [
      RESCALING,
      ["Dense", { units: 32 }],
      ["Dropout", { rate: 0.9 }],
      ["Dense", { units: 8 }],
      ["Dropout", { rate: 0.5 }],
    ],
  ],
  [
    "batch normalisation",
    [6, 6, 2],
    [
      RESCALING,
      ["Conv2D", { filters: 4, kernel_size: 3, padding: "same", activation: "relu" }],
      ["BatchNormalization", { momentum: 0.5 }],
      ["MaxPooling2D", {}],
      ["Flatten", {}],
      ["BatchNormalization", { momentum: 0.5 }],
    ],
  ],
  ["layer normalisation", [10], [RESCALING, ["Dense", { units: 8 }], ["LayerNormalization", {}]]],
  [
    "all of them",
    [8, 8, 1],
    [
      RESCALING,
      ["Conv2D", { filters: 4, kernel_size: 3, activation: "relu" }],
      ["BatchNormalization", {}],
      ["MaxPooling2D", {}],
      ["Dropout", { rate: 0.5 }],
      ["Flatten", {}],
      ["Dense", { units: 16, activation: "relu" }],
      ["LayerNormalization", {}],
    ],
  ],
];

describe("a converted network with", () => {
  test.each(NETWORKS)("%s answers as the graph it was trained with", async (_, shape, layers) => {
    const examples = pixels(300, shape);
    const { parity, signature, scores } = await convertCheckpoint(await trained(layers, examples), examples);
    expect(scores).toEqual({ scores: "probabilities" });
    expect(parity).toMatchObject({ examples: PARITY_EXAMPLES, tolerance: PARITY_TOLERANCE });
    expect(parity.maxAbsError).toBeLessThanOrEqual(PARITY_TOLERANCE);
    expect(signature).toEqual({
      inputs: [{ name: "image", datatype: "FP32", shape: [-1, ...shape] }],
      outputs: [{ name: "scores", datatype: "FP32", shape: [-1, CLASSES] }],
    });
  });
});

describe("conversion", () => {
  const [, shape, layers] = NETWORKS[0]!;
  const examples = pixels(64, shape);
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await trained(layers, examples);
  });

  /** Weights that are read as they were trained by one graph, and changed by the other. */
  function changedAtSecondReading(name: string, change: (data: Float32Array) => void): NamedArrays {
    const weights: NamedArrays = new Map(checkpoint.weights);
    let readings = 0;
    weights.get = (asked) => {
      const weight = checkpoint.weights.get(asked);
      if (asked !== name || !weight || readings++ === 0) return weight;
      const data = weight.data.slice();
      change(data);
      return { ...weight, data };
    };
    return weights;
  }

  const failure = (weights: NamedArrays) =>
    convertCheckpoint({ ...checkpoint, weights }, examples).catch((error: unknown) => error);

  test.each(["dense/kernel", "scores/bias"])(
    "is refused when %s is not in both graphs what it was",
    async (name) => {
      const error = await failure(
        changedAtSecondReading(name, (data) => {
          data[0]! += 0.01;
        }),
      );
      expect(error).toMatchObject({
        type: "PARITY_FAILED",
        data: { tolerance: PARITY_TOLERANCE, examples: 64 },
      });
      expect((error as { data: { maxAbsError: number } }).data.maxAbsError).toBeGreaterThan(PARITY_TOLERANCE);
    },
  );

  test("compares every example, in batches no larger than those trained on", async () => {
    const features = new Uint8Array(64 * 10);
    features.fill(255, 63 * 10);
    const last = labelled(shape, "UINT8", features, new Uint8Array(64), ["a", "b", "c"]);
    const weights = () => changedAtSecondReading("dense/kernel", (data) => data.fill(9));
    for (const batchSize of [1, 24, 64, 1000]) {
      const spec = { ...checkpoint.spec, batchSize };
      const { parity } = await convertCheckpoint({ ...checkpoint, spec }, last);
      expect(parity).toMatchObject({ examples: 64 });
      const changed = convertCheckpoint({ ...checkpoint, spec, weights: weights() }, last);
      await expect(changed).rejects.toMatchObject({ type: "PARITY_FAILED", data: { examples: 64 } });
    }
  });

  test("is refused when an answer is no number, whatever the answers after it", async () => {
    // Relu makes zeros of most rows; those whose first unit is at work become NaN.
    const error = await failure(
      changedAtSecondReading("scores/kernel", (data) => {
        data[0] = Number.POSITIVE_INFINITY;
      }),
    );
    expect(error).toMatchObject({ type: "PARITY_FAILED" });
    const everywhere = new Map(checkpoint.weights);
    const bias = everywhere.get("scores/bias")!;
    everywhere.set("scores/bias", { ...bias, data: bias.data.map(() => Number.NaN) });
    expect(await failure(everywhere)).toMatchObject({ type: "PARITY_FAILED" });
  });

  test("names the weight that is missing or has another shape", async () => {
    const missing: NamedArrays = new Map(checkpoint.weights);
    missing.delete("dense/kernel");
    const absent = await failure(missing);
    expect(absent).toMatchObject({ type: "INVALID_MODEL" });
    expect((absent as Error).message).toContain("weight 'dense/kernel': received nothing");
    const wrong: NamedArrays = new Map(checkpoint.weights);
    wrong.set("dense/kernel", { shape: [8, 10], data: normals("wrong", [8, 10]) });
    const error = await failure(wrong);
    expect(error).toMatchObject({ type: "INVALID_MODEL" });
    expect((error as Error).message).toContain("received [8,10], expected [10,8]");
  });

  test("on examples of another shape is refused by shape", async () => {
    await expect(convertCheckpoint(checkpoint, pixels(4, [5, 2]))).rejects.toMatchObject({
      type: "INVALID_INPUT",
      data: {
        field: "data.inputs.x",
        received: "examples of shape [5,2]",
        expected: "[10], the network's input 'image'",
      },
    });
  });

  test("compares as many examples as there are", async () => {
    expect((await convertCheckpoint(checkpoint, pixels(1, shape))).parity.examples).toBe(1);
  });
});
