/** A run taken down between any two steps and set up anew ends as the run that was never stopped, to the bit. */

import { normals } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { type Examples, rowRange } from "../data/examples.ts";
import { InvalidModelError } from "../errors.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { RandomStream } from "../random/stream.ts";
import { readRunCheckpoint, writeRunCheckpoint } from "./run-checkpoint.ts";
import { type RunOptions, TrainingRun } from "./training-run.ts";

const IDENTITY = { jobId: "job", attempt: 1, datasetDigest: "sha256:0" };
const COUNT = 53;

/** Labelled noise. */
function noise(): Examples {
  const random = RandomStream.named(4, "labels");
  const labels = Uint8Array.from({ length: COUNT }, () => random.below(3));
  return labelled([6, 6, 1], "FP32", normals("features", [COUNT, 6, 6, 1]), labels);
}

const layer = (class_name: string, config: Record<string, unknown> = {}) => ({ class_name, config });
const NETWORK = {
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      layer("InputLayer", { batch_shape: [null, 6, 6, 1] }),
      layer("Conv2D", { filters: 3, kernel_size: 3, activation: "relu" }),
      layer("BatchNormalization"),
      layer("MaxPooling2D"),
      layer("Dropout", { rate: 0.25 }),
      layer("Flatten"),
      layer("Dense", { units: 3, activation: "softmax" }),
    ],
  },
};
/** 43 examples to train on are five steps of 8 and one of 3; ten are left to validate with. */
const OPTIONS = { epochs: 3, batchSize: 8, seed: 3, validationSplit: 0.2, threads: 1 };
const AVERAGED_ADAM = {
  class_name: "Adam",
  config: { learning_rate: 0.01, use_ema: true, ema_momentum: 0.9, ema_overwrite_frequency: 5 },
};

function newRun(options: Partial<RunOptions> & { optimize?: unknown } = {}): TrainingRun {
  const { optimize = AVERAGED_ADAM, ...rest } = options;
  const network = parseNetwork(NETWORK);
  const objective = [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }];
  return new TrainingRun(
    { network, objective, optimizer: optimizerOf(optimize), ...OPTIONS, ...rest },
    noise(),
  );
}

class Stopped extends Error {}

/** Runs to the end, taking the run down at each of the given rests (counted over all of its lives). */
async function runStoppedAt(rests: readonly number[], make = () => newRun()) {
  let saved: Uint8Array | undefined;
  let counted = 0;
  for (let life = 0; ; life++) {
    const run = make();
    const stopAt = rests[life];
    if (saved) run.restore(readRunCheckpoint(saved).snapshot);
    try {
      const history = await run.run({
        atRest() {
          if (counted++ !== stopAt) return undefined;
          saved = writeRunCheckpoint(IDENTITY, run.snapshot());
          throw new Stopped();
        },
      });
      return { history: history.map(({ seconds: _, ...rest }) => rest), state: run.state(), lives: life + 1 };
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
    } finally {
      await run.close();
    }
  }
}

describe("a run that is taken down and set up anew", () => {
  test("at any step of training or validation ends with the same weights, slots, statistics and history", async () => {
    const whole = await runStoppedAt([]);
    expect(whole.state.step).toBe(18);
    // Six steps and one batch of validation an epoch.
    for (let at = 0; at < 21; at++) {
      const { lives, ...ended } = await runStoppedAt([at]);
      expect({ at, lives, ...ended }).toEqual({ at, lives: 2, history: whole.history, state: whole.state });
    }
  });

  test("many times over ends the same", async () => {
    const { lives: _, ...whole } = await runStoppedAt([]);
    const random = RandomStream.named(1, "stops");
    for (let round = 0; round < 4; round++) {
      // Each life asks once again at the rest where the one before it was stopped.
      const stops = [...new Set(Array.from({ length: 6 }, () => random.below(20)))].sort((a, b) => a - b);
      const { lives, ...ended } = await runStoppedAt(stops);
      expect({ stops, ...ended }).toEqual({ stops, ...whole });
      expect(lives).toBe(stops.length + 1);
    }
  });

  test("keeps the state of its callbacks, the rate they set and the weights they kept", async () => {
    const callbacks = [
      {
        class_name: "ReduceLROnPlateau",
        config: { monitor: "loss", factor: 0.3, patience: 1, cooldown: 1, min_delta: 0.02 },
      },
      {
        class_name: "EarlyStopping",
        config: { monitor: "val_loss", patience: 3, restore_best_weights: true },
      },
      { class_name: "ModelCheckpoint", config: { monitor: "val_accuracy", save_best_only: true } },
    ];
    const optimize = { class_name: "SGD", config: { learning_rate: 0.5, momentum: 0.9 } };
    const make = () => newRun({ callbacks, optimize, epochs: 12 });
    const { lives: _, ...whole } = await runStoppedAt([], make);
    expect(whole.history.length).toBeLessThan(12);
    const random = RandomStream.named(2, "stops");
    for (let round = 0; round < 5; round++) {
      const stops = [random.below(20), 20 + random.below(20)];
      const { lives, ...ended } = await runStoppedAt(stops, make);
      expect({ stops, ...ended }).toEqual({ stops, ...whole });
      expect(lives).toBeGreaterThan(1);
    }
  });

  test("keeps the time it had spent", async () => {
    const run = newRun();
    run.restore({ ...run.snapshot(), cursor: { ...run.snapshot().cursor, trainSeconds: 1000 } });
    await run.run();
    expect(run.trainSeconds).toBeGreaterThan(1000);
    expect(run.trainSeconds).toBeLessThan(1100);
    await run.close();
  });
});

describe("a run checkpoint", () => {
  test("gives back what was written, to the bit", () => {
    const run = newRun();
    const snapshot = run.snapshot();
    snapshot.cursor.sums.loss = 0.1 + 0.2;
    snapshot.history.push({
      epoch: 1,
      loss: Number.POSITIVE_INFINITY,
      learningRate: 0.1,
      seconds: 1,
      validationLoss: Number.NaN,
    });
    snapshot.callbacks.push({ state: { best: Number.NaN, wait: 2 }, kept: null });
    snapshot.callbacks.push({
      state: { best: null },
      kept: { weights: Float32Array.of(1, -0), statistics: new Float32Array(0) },
    });
    const read = readRunCheckpoint(writeRunCheckpoint(IDENTITY, snapshot));
    expect(read).toEqual({ identity: IDENTITY, snapshot });
  });

  test("of another network or optimiser is refused", () => {
    const { snapshot } = readRunCheckpoint(writeRunCheckpoint(IDENTITY, newRun().snapshot()));
    expect(() => newRun({ optimize: "Adagrad" }).restore(snapshot)).toThrow(InvalidModelError);
    expect(() => newRun({ optimize: "Adagrad" }).restore(snapshot)).toThrow("slots/accumulator");
    const short = { ...snapshot, state: { ...snapshot.state, weights: new Float32Array(3) } };
    expect(() => newRun().restore(short)).toThrow("weights: received 3 elements, expected ");
  });

  test("that does not fit leaves the run as it was", async () => {
    const callbacks = [{ class_name: "EarlyStopping", config: { monitor: "loss" } }];
    for (const other of [newRun({ optimize: "SGD" }), newRun({ callbacks })]) {
      await other.trainBatch(rowRange(0, 8));
      const run = newRun();
      const { cursor: _begin, ...before } = run.snapshot();
      expect(() => run.restore(other.snapshot())).toThrow(InvalidModelError);
      const { cursor: _cursor, ...after } = run.snapshot();
      expect(after).toEqual(before);
      await Promise.all([run.close(), other.close()]);
    }
  });

  test("is told from other files", () => {
    const bytes = writeRunCheckpoint(IDENTITY, newRun().snapshot());
    const text = Buffer.from(bytes).toString("latin1").replace("moiety-run-1", "moiety-run-9");
    expect(() => readRunCheckpoint(Buffer.from(text, "latin1"))).toThrow("format is 'moiety-run-9'");
    expect(() => readRunCheckpoint(bytes.subarray(0, 100))).toThrow(InvalidModelError);
  });
});
