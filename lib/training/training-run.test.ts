/** The run: repeatable, weighted rightly, stopped in time, and honest about data that does not fit. */

import { normals } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import type { Examples } from "../data/examples.ts";
import { rowRange, rowsOf } from "../data/examples.ts";
import { CancelledError, InvalidInputError, InvalidModelError, TrainingDivergedError } from "../errors.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { OPTIMIZERS, optimizerOf } from "../optim/table.ts";
import type { TrainingProgress } from "../protocol/jobs.ts";
import { RandomStream } from "../random/stream.ts";
import { BatchFeed } from "./batch-feed.ts";
import { type RunOptions, TrainingRun } from "./training-run.ts";
import { namedWeights } from "./weight-layout.ts";

type Layer = [string, Record<string, unknown>];

const network = (shape: number[], ...layers: Layer[]) =>
  parseNetwork({
    class_name: "Sequential",
    config: {
      name: "net",
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, ...shape] } },
        ...layers.map(([class_name, config]) => ({ class_name, config })),
      ],
    },
  });

const SOFTMAX: Layer = ["Dense", { units: 3, activation: "softmax" }];
const IMAGE_LAYERS: Layer[] = [
  ["Conv2D", { filters: 4, kernel_size: 3, activation: "relu" }],
  ["BatchNormalization", {}],
  ["MaxPooling2D", {}],
  ["Dropout", { rate: 0.25 }],
  ["Flatten", {}],
  SOFTMAX,
];

/** Labelled noise: nothing to learn but the examples themselves. */
function noise(count: number, featureShape: number[], classes = 3): Examples {
  const random = RandomStream.named(4, "labels");
  const labels = Uint8Array.from({ length: count }, () => random.below(classes));
  return labelled(featureShape, "FP32", normals("features", [count, ...featureShape]), labels);
}

function runOf(
  given: Partial<RunOptions> & { layers: Layer[]; shape: number[]; optimize?: unknown },
  examples: Examples,
) {
  const { layers, shape, optimize = "Adam", ...options } = given;
  return new TrainingRun(
    {
      network: network(shape, ...layers),
      objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
      optimizer: optimizerOf(optimize),
      epochs: 1,
      batchSize: 8,
      seed: 0,
      validationSplit: 0,
      threads: 1,
      ...options,
    },
    examples,
  );
}

async function using<T>(run: TrainingRun, use: (run: TrainingRun) => Promise<T>): Promise<T> {
  try {
    return await use(run);
  } finally {
    await run.close();
  }
}

const sgd = (learning_rate: number) => ({ class_name: "SGD", config: { learning_rate } });

describe("repeatability", () => {
  const examples = noise(40, [6, 6, 1]);
  const train = (seed: number, threads: number) =>
    using(
      runOf(
        {
          layers: IMAGE_LAYERS,
          shape: [6, 6, 1],
          seed,
          epochs: 2,
          batchSize: 16,
          validationSplit: 0.2,
          threads,
        },
        examples,
      ),
      async (run) => ({
        history: (await run.run()).map(({ seconds: _, ...rest }) => rest),
        state: run.state(),
      }),
    );

  test("the same seed gives the same weights, statistics, slots and history, to the bit", async () => {
    const [first, second] = [await train(1, 2), await train(1, 2)];
    expect(second).toEqual(first);
    expect(first.state.step).toBe(4);
    expect([...first.state.slots.keys()]).toEqual(["momentum", "velocity"]);
  });

  test("another seed gives other weights and another history", async () => {
    const [first, second] = [await train(1, 1), await train(2, 1)];
    expect(second.state.weights).not.toEqual(first.state.weights);
    expect(second.history).not.toEqual(first.history);
  });

  test("adding a layer leaves the fresh weights of the others as they were", () => {
    const fresh = (layers: Layer[]) => {
      const run = runOf({ layers, shape: [6, 6, 1], seed: 9 }, examples);
      return namedWeights(run.plan.trainedLayout, run.state().weights).get("conv2d/kernel");
    };
    expect(fresh(IMAGE_LAYERS)).toEqual(
      fresh([...IMAGE_LAYERS.slice(0, 5), ["Dense", { units: 5 }], ["Dense", { units: 3, name: "last" }]]),
    );
  });
});

describe("an epoch", () => {
  test("weighs a smaller last batch by its examples", async () => {
    // Nothing is learnt at rate nought, so the epoch's means are those of all rows at once.
    const examples = noise(10, [5]);
    await using(
      runOf({ layers: [SOFTMAX], shape: [5], optimize: sgd(0), batchSize: 4 }, examples),
      async (run) => {
        expect(run.stepsPerEpoch).toBe(3);
        const [record] = await run.run();
        const whole = await run.evaluate(Uint32Array.from({ length: 10 }, (_, i) => i));
        expect(record!.loss).toBeCloseTo(whole.loss, 6);
        expect(record!.accuracy).toBeCloseTo(whole.accuracy!, 12);
      },
    );
  });

  test("scores validation on rows it never trains on", async () => {
    const examples = noise(50, [5]);
    await using(runOf({ layers: [SOFTMAX], shape: [5], validationSplit: 0.3 }, examples), async (run) => {
      expect([run.trainExamples, run.validationExamples, run.stepsPerEpoch]).toEqual([35, 15, 5]);
      const [record] = await run.run();
      expect(record!.validationLoss).toBeGreaterThan(0);
      expect((record!.validationAccuracy! * 15) % 1).toBeCloseTo(0, 9);
    });
  });

  test("reports progress that ends with the epoch's own figures", async () => {
    const reports: TrainingProgress[] = [];
    await using(runOf({ layers: [SOFTMAX], shape: [5], epochs: 2 }, noise(20, [5])), async (run) => {
      const history = await run.run({ progress: (progress) => reports.push(progress) });
      const last = reports.at(-1)!;
      expect(last).toMatchObject({ epoch: 2, epochs: 2, step: 3, stepsPerEpoch: 3, secondsLeft: 0 });
      expect([last.loss, last.accuracy]).toEqual([history[1]!.loss, history[1]!.accuracy]);
    });
  });

  test("moves batch-norm statistics towards the batch's, and leaves them alone in evaluation", async () => {
    const examples = noise(4, [2]);
    const layers: Layer[] = [["BatchNormalization", { momentum: 0.75 }], SOFTMAX];
    await using(runOf({ layers, shape: [2], batchSize: 4 }, examples), async (run) => {
      expect([...run.state().statistics]).toEqual([0, 0, 1, 1]);
      await run.run();
      const after = run.state().statistics;
      const features = rowsOf(examples.inputs[0]!, rowRange(0, 4));
      const column = (at: number) => [0, 1, 2, 3].map((row) => Number(features[row * 2 + at]));
      const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
      const expected = [0, 1].flatMap((at) => [0.25 * mean(column(at))]);
      const spread = [0, 1].map(
        (at) => 0.75 + 0.25 * mean(column(at).map((v) => (v - mean(column(at))) ** 2)),
      );
      [...expected, ...spread].forEach((value, i) => {
        expect(after[i]).toBeCloseTo(value, 5);
      });
      await run.evaluate(Uint32Array.of(0, 1, 2, 3));
      expect(run.state().statistics).toEqual(after);
    });
  });

  test("drops each element with the layer's rate, afresh for every step", () => {
    const masks = [{ name: "keep", kind: "keep" as const, rate: 0.3, shape: [100, 200] }];
    const feed = new BatchFeed(network([5], SOFTMAX), noise(1, [5]), 100, masks);
    const random = RandomStream.named(0, "dropout");
    const data = feed.feeds.keep!.data as Uint8Array;
    feed.drawMasks(random);
    const first = data.slice();
    feed.drawMasks(random);
    const share = (mask: Uint8Array) => mask.reduce((sum, v) => sum + v, 0) / mask.length;
    // 20,000 draws stray by √(0.3·0.7/20000) = 0.003.
    expect(Math.abs(share(first) - 0.7)).toBeLessThan(0.013);
    const both = data.reduce((sum, v, i) => sum + (v & first[i]!), 0) / data.length;
    expect(Math.abs(both - 0.49)).toBeLessThan(0.015);
  });
});

test("a small network learns 32 examples by heart", async () => {
  const examples = noise(32, [6, 6, 1]);
  const layers: Layer[] = [
    ["Conv2D", { filters: 8, kernel_size: 3, activation: "relu" }],
    ["MaxPooling2D", {}],
    ["Flatten", {}],
    ["Dense", { units: 16, activation: "tanh" }],
    SOFTMAX,
  ];
  const optimize = { class_name: "Adam", config: { learning_rate: 0.01 } };
  await using(runOf({ layers, shape: [6, 6, 1], optimize, epochs: 60 }, examples), async (run) => {
    const history = await run.run();
    const rows = Uint32Array.from({ length: 32 }, (_, i) => i);
    expect(await run.evaluate(rows)).toEqual({ accuracy: 1, loss: expect.closeTo(0, 1) });
    expect(history.at(-1)!.loss).toBeLessThan(history[0]!.loss / 20);
  });
});

describe("optimiser options", () => {
  const rated = (options: Record<string, unknown>) => ({
    class_name: "SGD",
    config: { learning_rate: 1, ...options },
  });
  const oneBatch = { layers: [["Dense", { units: 6 }], SOFTMAX] as Layer[], shape: [5], batchSize: 20 };

  test("averaged weights are what a run ends with, and not what it trains or validates by", async () => {
    const examples = noise(20, [5]);
    const optimize = rated({ use_ema: true, ema_momentum: 0.75 });
    const seen: Float32Array[] = [];
    const watched = runOf({ ...oneBatch, optimize, epochs: 4 }, examples);
    await using(watched, (run) => run.run({ epochCompleted: () => seen.push(run.state().weights) }));
    const plain = runOf({ ...oneBatch, optimize: rated({}), epochs: 4 }, examples);
    await using(plain, (run) => run.run());
    expect(seen.at(-1)).toEqual(plain.state().weights);

    const { weights, slots } = watched.state();
    expect(slots.get("average")).toEqual(weights);
    weights.forEach((weight, i) => {
      const [first, ...rest] = seen.map((step) => step[i]!);
      expect(weight).toBeCloseTo(
        rest.reduce((average, w) => 0.75 * average + 0.25 * w, first!),
        5,
      );
    });
  });

  test("clipping bounds the step by the norm of all weights, or of each", async () => {
    const examples = noise(20, [5]);
    const limit = 0.05;
    const steps = async (options: Record<string, unknown>) => {
      const run = runOf({ ...oneBatch, optimize: rated(options) }, examples);
      const before = run.state().weights;
      await using(run, (it) => it.run());
      return namedWeights(
        run.plan.trainedLayout,
        run.state().weights.map((weight, i) => weight - before[i]!),
      );
    };
    const norm = (...parts: Float32Array[]) => Math.hypot(...parts.flatMap((part) => [...part]));
    const free = [...(await steps({})).values()].map(({ data }) => norm(data));
    const each = [...(await steps({ clipnorm: limit })).values()].map(({ data }) => norm(data));
    expect(Math.max(...free)).toBeGreaterThan(limit);
    each.forEach((found, i) => {
      expect(found).toBeCloseTo(Math.min(limit, free[i]!), 5);
    });
    const all = [...(await steps({ global_clipnorm: limit })).values()].map(({ data }) => data);
    expect(norm(...all)).toBeCloseTo(limit, 5);
    const values = [...(await steps({ clipvalue: 0.01 })).values()].flatMap(({ data }) => [...data]);
    expect(Math.max(...values.map(Math.abs))).toBeCloseTo(0.01, 6);
  });

  test("slots begin where the optimiser says", () => {
    const optimize = { class_name: "Adagrad", config: { initial_accumulator_value: 0.25 } };
    const { slots } = runOf({ ...oneBatch, optimize }, noise(20, [5])).state();
    expect(slots.get("accumulator")!.every((value) => value === 0.25)).toBe(true);
  });

  test("a schedule sets the rate of each step", async () => {
    const learning_rate = {
      class_name: "PiecewiseConstantDecay",
      config: { boundaries: [1], values: [0.5, 0] },
    };
    const run = runOf({ ...oneBatch, optimize: rated({ learning_rate }), epochs: 4 }, noise(20, [5]));
    const seen: Float32Array[] = [run.state().weights];
    await using(run, (it) => it.run({ epochCompleted: () => seen.push(it.state().weights) }));
    expect(seen[1]).not.toEqual(seen[0]);
    expect(seen[2]).not.toEqual(seen[1]);
    expect(seen[3]).toEqual(seen[2]);
    expect(seen[4]).toEqual(seen[2]);
  });
});

describe("callbacks", () => {
  const of = (class_name: string, config: Record<string, unknown>) => ({ class_name, config });
  const examples = () => noise(60, [5]);
  const given = { layers: [["Dense", { units: 30, activation: "tanh" }], SOFTMAX] as Layer[], shape: [5] };
  const wild = { ...given, epochs: 40, batchSize: 12, validationSplit: 0.3, optimize: sgd(1) };

  test.each([
    ["EarlyStopping", { patience: 4, restore_best_weights: true }],
    ["ModelCheckpoint", { save_best_only: true }],
  ])("%s leaves the run with the weights of its best epoch", async (name, config) => {
    const seen: { weights: Float32Array; loss: number }[] = [];
    await using(runOf({ ...wild, callbacks: [of(name, config)] }, examples()), async (run) => {
      const history = await run.run({
        epochCompleted: ({ validationLoss }) => {
          seen.push({ weights: run.state().weights, loss: validationLoss! });
        },
      });
      const best = seen.reduce((a, b) => (b.loss < a.loss ? b : a));
      expect(run.state().weights).toEqual(best.weights);
      expect(best).not.toBe(seen.at(-1));
      if (name === "EarlyStopping") expect(history).toHaveLength(seen.indexOf(best) + 1 + 4);
      else expect(history).toHaveLength(40);
    });
  });

  test("each epoch's record has the rate as it ends, before a callback changes it", async () => {
    const ratesOf = (optimize: unknown, callbacks: unknown[] = []) =>
      using(
        runOf({ layers: [SOFTMAX], shape: [4], optimize, epochs: 3, callbacks }, noise(16, [4])),
        async (run) => {
          const reports: TrainingProgress[] = [];
          const history = await run.run({ progress: (progress) => reports.push(progress) });
          expect(reports.at(-1)!.learningRate).toBe(history.at(-1)!.learningRate);
          return history.map(({ learningRate }) => learningRate);
        },
      );
    const plateau = { monitor: "loss", factor: 0.5, patience: 1, min_delta: 9 };
    const halving = [{ class_name: "ReduceLROnPlateau", config: plateau }];
    expect(await ratesOf(sgd(0.5), halving)).toEqual([0.5, 0.5, 0.25]);
    const config = { boundaries: [2, 4], values: [1, 0.5, 0.25] };
    const schedule = { class_name: "PiecewiseConstantDecay", config };
    expect(await ratesOf({ class_name: "SGD", config: { learning_rate: schedule } })).toEqual([1, 0.5, 0.25]);
  });

  test("a rate that falls to nought leaves the weights as they are, whatever the optimiser", async () => {
    const plateau = of("ReduceLROnPlateau", { monitor: "loss", patience: 0, mode: "max", factor: 0 });
    for (const name of Object.keys(OPTIMIZERS)) {
      const optimize = of(name, { learning_rate: 0.01 });
      const options = { ...given, optimize, epochs: 4, batchSize: 60, callbacks: [plateau] };
      await using(runOf(options, examples()), async (run) => {
        const seen: Float32Array[] = [run.state().weights];
        await run.run({ epochCompleted: () => seen.push(run.state().weights) });
        // The first epoch is the best so far; from the second on the loss is not higher, and the rate nought.
        expect({
          name,
          moved: seen.slice(1).map((weights, i) => weights.some((w, k) => w !== seen[i]![k])),
        }).toEqual({
          name,
          moved: [true, true, false, false],
        });
      });
    }
  });

  test("are refused for figures the run does not have", () => {
    const callbacks = [of("EarlyStopping", {})];
    expect(() => runOf({ ...given, callbacks }, examples())).toThrow(
      'callbacks[0].monitor: received "val_loss", expected one of loss, accuracy',
    );
  });
});

describe("a run that ends early", () => {
  test("stops before the next step once it is cancelled", async () => {
    let asked = 0;
    await using(runOf({ layers: [SOFTMAX], shape: [5], epochs: 100 }, noise(40, [5])), async (run) => {
      await expect(run.run({ cancelled: () => ++asked > 7 })).rejects.toThrow(CancelledError);
      expect(run.state().step).toBe(7);
    });
  });

  test("stops before the next batch of validation once it is cancelled", async () => {
    let asked = 0;
    const options = { layers: [SOFTMAX], shape: [5], epochs: 9, batchSize: 300, validationSplit: 0.5 };
    await using(runOf(options, noise(1200, [5])), async (run) => {
      // Two steps and three batches of validation an epoch.
      await expect(run.run({ cancelled: () => ++asked > 8 })).rejects.toThrow(CancelledError);
      expect(asked).toBe(9);
      expect(run.position).toMatchObject({ epoch: 2, step: 4, history: [{ epoch: 1 }] });
    });
  });

  test("is refused when there is no example to hold out", () => {
    const options = { layers: [SOFTMAX], shape: [5], validationSplit: 0.5 };
    expect(() => runOf(options, noise(1, [5]))).toThrow(
      "Invalid data.validationSplit: received 0.5 of 1 example, expected at least 2 training examples",
    );
    const least = runOf({ ...options, validationSplit: 0.01 }, noise(2, [5]));
    expect([least.trainExamples, least.validationExamples]).toEqual([1, 1]);
  });

  describe("because it diverged names epoch, step and where it began", () => {
    const failureOf = (options: Parameters<typeof runOf>[0], examples: Examples) =>
      using(runOf({ epochs: 3, ...options }, examples), (run) =>
        run.run().then(
          () => Promise.reject(new Error("it did not diverge")),
          (error: TrainingDivergedError) => error,
        ),
      );
    const hot = (name: string, config = {}): Layer => ["Dense", { units: 8, name, ...config }];
    /** Element `at` of all examples, which a network of plain layers sees first. */
    const with1 = (examples: Examples, value: number): Examples => {
      const input = examples.inputs[0]!;
      const gather: typeof input.gather = (rows, into) => {
        input.gather(rows, into);
        into[0] = value as never;
      };
      return { ...examples, inputs: [{ ...input, gather }] };
    };
    const huge = { class_name: "Constant", config: { value: 1e30 } };

    test("an output: of the first layer that is not finite, with its weights before the step", async () => {
      const layers = [
        hot("a"),
        hot("b", { kernel_initializer: huge }),
        hot("c", { kernel_initializer: huge }),
        SOFTMAX,
      ];
      const failure = await failureOf({ layers, shape: [5] }, noise(40, [5]));
      expect(failure).toBeInstanceOf(TrainingDivergedError);
      expect(failure.message).toMatch(
        /^Training diverged: loss became (NaN|-?Infinity) at epoch 1, step 1; it began in layer 'c': its output$/,
      );
      expect(failure).toMatchObject({
        type: "TRAINING_DIVERGED",
        data: { epoch: 1, step: 1, layer: "c", what: "its output" },
      });
    });

    test("an output of a layer in a model within a model, also under a wrapper", async () => {
      const within = (name: string, ...layers: Layer[]): Layer => [
        "Sequential",
        { name, layers: layers.map(([class_name, config]) => ({ class_name, config })) },
      ];
      const hotter = (name: string) => hot(name, { kernel_initializer: huge });
      const nested = within("base", hot("a"), within("inner", hotter("b"), hotter("c")), hot("d"));
      const plain = await failureOf({ layers: [nested, SOFTMAX], shape: [5] }, noise(40, [5]));
      expect(plain.data).toMatchObject({ layer: "base/inner/c", what: "its output" });
      const layer = { class_name: nested[0], config: nested[1] };
      const layers: Layer[] = [["TimeDistributed", { name: "each", layer }], ["Flatten", {}], SOFTMAX];
      const wrapped = await failureOf({ layers, shape: [2, 5] }, noise(40, [2, 5]));
      expect(wrapped.data).toMatchObject({ layer: "each/base/inner/c", what: "its output" });
    });

    test("an output of a layer in a later step, in a graph with convolutions and batch statistics", async () => {
      const failure = await failureOf(
        { layers: IMAGE_LAYERS, shape: [6, 6, 1], optimize: sgd(1e38), batchSize: 16 },
        noise(40, [6, 6, 1]),
      );
      expect(failure.data).toMatchObject({ epoch: 1, layer: expect.any(String), what: expect.any(String) });
    });

    test("the data", async () => {
      const layers = [hot("a"), SOFTMAX];
      const failure = await failureOf({ layers, shape: [5] }, with1(noise(40, [5]), Number.NaN));
      expect(failure.message).toContain("step 1; it began in the data (input/");
    });

    test("a gradient, where every output is finite", async () => {
      // The loss is about 1e20, and the gradient of the first layer's kernel that times 1e30.
      const wide = { kernel_initializer: { class_name: "Constant", config: { value: 1e20 } } };
      const layers = [hot("a", { kernel_initializer: "zeros" }), hot("b", wide), hot("c", wide), SOFTMAX];
      const failure = await failureOf({ layers, shape: [5], batchSize: 40 }, noise(40, [5]));
      expect(failure.data).toMatchObject({ epoch: 1, step: 1, layer: "a" });
      expect(failure.message).toMatch(/the gradient of weight 'a\/(kernel|bias)'$/);
    });

    test("an update, where the gradient is finite", async () => {
      const given = { layers: [SOFTMAX], shape: [5], optimize: sgd(1e38), epochs: 1 };
      const failure = await failureOf(given, with1(noise(8, [5]), 1000));
      expect(failure.message).toMatch(/loss became NaN at epoch 1, step 1; .*: the update of weight '/);
    });
  });

  test("does not pass weights off as trained that the very last step blew up", async () => {
    const large = normals("features", [8, 5]).map((value) => 100 * value);
    const examples = labelled([5], "FP32", large, Uint8Array.of(0, 1, 2, 0, 1, 2, 0, 1));
    await using(runOf({ layers: [SOFTMAX], shape: [5], optimize: sgd(3e38) }, examples), async (run) => {
      await expect(run.run()).rejects.toThrow("loss became NaN at epoch 1, step 1");
    });
  });
});

describe("data and networks that do not fit", () => {
  test("labels beyond the outputs", () => {
    const examples = noise(10, [5], 4);
    expect(() => runOf({ layers: [SOFTMAX], shape: [5] }, examples)).toThrow(InvalidInputError);
    expect(() => runOf({ layers: [SOFTMAX], shape: [5] }, examples)).toThrow(
      "received 4 classes, expected at most 3: output 'dense' has 3",
    );
  });

  test("examples of another shape", () => {
    expect(() => runOf({ layers: [SOFTMAX], shape: [6] }, noise(10, [5]))).toThrow(
      "received examples of shape [5], expected [6], the network's input 'input'",
    );
  });

  test("a network without weights to train, and one whose output is no vector of classes", async () => {
    await using(
      runOf({ layers: [["Activation", { activation: "softmax" }]], shape: [3] }, noise(8, [3])),
      async (run) => {
        await expect(run.run()).rejects.toThrow("the network has no weights to train");
        await expect(run.run()).rejects.toThrow(InvalidModelError);
      },
    );
    const layers: Layer[] = [["Dense", { units: 3 }]];
    expect(() => runOf({ layers, shape: [2, 5] }, noise(8, [2, 5]))).toThrow(
      "received examples of shape [], expected [2], one class for each position of the network's output 'dense'",
    );
  });
});

test("convolutions wide enough for the runtime's own layout train, alone and with recurrent layers", async () => {
  const convolutions: Layer[] = [
    ["Conv2D", { filters: 16, kernel_size: 3, padding: "same" }],
    ["Conv2D", { filters: 16, kernel_size: 3, activation: "relu" }],
  ];
  const recurrent: Layer[] = [
    ["Reshape", { target_shape: [16, 36] }],
    ["LSTM", { units: 4 }],
  ];
  for (const layers of [
    [...convolutions, ["Flatten", {}] as Layer],
    [...convolutions, ...recurrent],
  ])
    await using(
      runOf({ layers: [...layers, SOFTMAX], shape: [8, 8, 1] }, noise(16, [8, 8, 1])),
      async (run) => {
        const [epoch] = await run.run();
        expect(epoch!.loss).toBeGreaterThan(0);
      },
    );
});
