/** Every callback against Keras's own, on the same histories: stopping, rates, and the weights at the end. */

import { readFileSync } from "node:fs";
import { InvalidInputError, InvalidModelError, UnknownComponentError } from "../../errors.ts";
import type { EpochRecord } from "../../protocol/jobs.ts";
import { CallbackList, figuresOf } from "./callback-list.ts";
import { CALLBACKS, callbackOf } from "./table.ts";

type Case = {
  class_name: string;
  config: Record<string, unknown>;
  rate: number;
  logs: Record<string, number>[];
  epochs: number;
  rates: number[];
  /** The weight at the end, which was set to the number of each epoch. */
  final: number;
  /** What ModelCheckpoint's file held after each epoch. */
  saved?: number[];
};
const KERAS: Case[] = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/keras/callbacks.json", import.meta.url), "utf8"),
);

const constant = (rate: number) => ({ at: () => rate, scheduled: false });

function recordOf(epoch: number, log: Record<string, number>): EpochRecord {
  const { loss = 0, accuracy, val_loss: validationLoss, val_accuracy: validationAccuracy } = log;
  return {
    epoch,
    loss,
    learningRate: 1,
    seconds: 1,
    ...(accuracy !== undefined && { accuracy }),
    ...(validationLoss !== undefined && { validationLoss }),
    ...(validationAccuracy !== undefined && { validationAccuracy }),
  };
}

/** As the fixture's generator drives Keras's callbacks; taken down and set up again between the epochs if asked. */
function drive(
  { class_name, config, rate, logs }: Omit<Case, "epochs" | "rates" | "final">,
  resumed: boolean,
) {
  const make = () => new CallbackList([{ class_name, config }], constant(rate));
  let list = make();
  let current = Math.fround(rate);
  let stopped = false;
  const rates: number[] = [];
  const saved: number[] = [];
  for (const [i, log] of logs.entries()) {
    const weight = i + 1;
    list.epochEnded(recordOf(i + 1, log), {
      learningRate: () => current,
      setLearningRate: (next) => {
        current = next;
      },
      stop: () => {
        stopped = true;
      },
      currentWeights: () => ({ weights: Float32Array.of(weight), statistics: new Float32Array(0) }),
    });
    if (resumed) {
      const snapshot = JSON.parse(JSON.stringify(list.snapshot().map(({ state }) => state)));
      const kept = list.snapshot().map((entry) => entry.kept);
      list = make();
      list.restore(kept.map((weights, k) => ({ state: snapshot[k], kept: weights })));
    }
    rates.push(current);
    saved.push(list.finalWeights()?.weights[0] ?? weight);
    if (stopped) break;
  }
  const final = list.finalWeights()?.weights[0] ?? rates.length;
  return { epochs: rates.length, rates, final, ...(class_name === "ModelCheckpoint" ? { saved } : {}) };
}

describe("a callback", () => {
  const named = KERAS.map((given, i) => [`${given.class_name} ${JSON.stringify(given.config)} #${i}`, given]);

  test.each(named as [string, Case][])("%s does as Keras's", (_, given) => {
    for (const resumed of [false, true]) {
      const { epochs, rates, saved, final } = drive(given, resumed);
      expect({ epochs, rates }).toEqual({ epochs: given.epochs, rates: given.rates });
      if (given.saved) expect(saved).toEqual(given.saved);
      else expect(final).toBe(given.final);
    }
  });

  test("is checked for each in the table", () => {
    const checked = new Set([...KERAS.map(({ class_name }) => class_name), "TerminateOnNaN"]);
    expect(checked).toEqual(new Set(Object.keys(CALLBACKS)));
    expect(callbackOf("TerminateOnNaN", "callbacks[0]")).toMatchObject({ restoresKept: false });
  });

  test("keeps nothing below ModelCheckpoint's threshold", () => {
    const config = { monitor: "loss", save_best_only: true, initial_value_threshold: 0.5 };
    const logs = [0.9, 0.7, 0.6].map((loss) => ({ loss }));
    const given = { class_name: "ModelCheckpoint", config, rate: 1, logs };
    expect(drive(given, false).final).toBe(3);
    expect(drive({ ...given, logs: [...logs, { loss: 0.4 }, { loss: 0.45 }] }, false).final).toBe(4);
  });

  test("ignores what is no number, as a comparison with it is never true", () => {
    const logs = [0.9, 0.8, Number.NaN, Number.NaN].map((loss) => ({ loss }));
    const config = { monitor: "loss", patience: 2, restore_best_weights: true };
    expect(drive({ class_name: "EarlyStopping", config, rate: 1, logs }, false)).toMatchObject({
      epochs: 4,
      final: 2,
    });
  });
});

describe("several callbacks", () => {
  test("each keep weights of their own; the last that restores any decides", () => {
    const list = new CallbackList(
      [
        { class_name: "EarlyStopping", config: { monitor: "loss", patience: 9, restore_best_weights: true } },
        { class_name: "ModelCheckpoint", config: { monitor: "accuracy", save_best_only: true } },
        "TerminateOnNaN",
      ],
      constant(1),
    );
    for (const [i, [loss, accuracy]] of [
      [3, 0.1],
      [1, 0.5],
      [2, 0.7],
    ].entries())
      list.epochEnded(recordOf(i + 1, { loss: loss!, accuracy: accuracy! }), {
        learningRate: () => 1,
        setLearningRate: () => {},
        stop: () => {},
        currentWeights: () => ({ weights: Float32Array.of(i + 1), statistics: new Float32Array(0) }),
      });
    expect(list.snapshot().map(({ kept }) => kept?.weights[0])).toEqual([2, 3, undefined]);
    expect(list.finalWeights()!.weights[0]).toBe(3);
  });

  test("go by the figures of one output, or of each of several", () => {
    const [a, b] = [
      { name: "a", isClasses: true },
      { name: "b", isClasses: false },
    ];
    expect(figuresOf([a], true)).toEqual(["loss", "accuracy", "val_loss", "val_accuracy"]);
    expect(figuresOf([b], false)).toEqual(["loss"]);
    expect(figuresOf([a, b], false)).toEqual(["loss", "a_loss", "a_accuracy", "b_loss"]);
  });
});

describe("a bad callback", () => {
  const of = (class_name: string, config: Record<string, unknown>) => ({ class_name, config });

  test.each<[unknown, new (...args: never[]) => Error, string]>([
    ["EarlyStoping", UnknownComponentError, "did you mean 'EarlyStopping'?"],
    [7, InvalidModelError, "callbacks[0]: received 7"],
    [of("EarlyStopping", { monitor: 3 }), InvalidModelError, "callbacks[0].monitor: received 3"],
    [of("EarlyStopping", { patience: -1 }), InvalidModelError, "patience: received -1"],
    [of("EarlyStopping", { patience: 1.5 }), InvalidModelError, "patience: received 1.5"],
    [of("EarlyStopping", { mode: "most" }), InvalidModelError, "mode"],
    [of("EarlyStopping", { baseline: "low" }), InvalidModelError, "baseline"],
    [of("EarlyStopping", { restore_best_weight: true }), InvalidModelError, "'restore_best_weights'?"],
    [of("EarlyStopping", { start_from_epoch: -2 }), InvalidModelError, "start_from_epoch"],
    [of("ReduceLROnPlateau", { factor: 1 }), InvalidModelError, "factor: received 1"],
    [of("ReduceLROnPlateau", { cooldown: -1 }), InvalidModelError, "cooldown"],
    [of("ReduceLROnPlateau", { min_lr: -1 }), InvalidModelError, "min_lr"],
    [of("ModelCheckpoint", { save_freq: 10 }), InvalidModelError, "save_freq: received 10"],
    [of("ModelCheckpoint", { save_best_only: "yes" }), InvalidModelError, "save_best_only"],
  ])("such as %j is refused", (declared, type, message) => {
    expect(() => new CallbackList([declared], constant(1))).toThrow(type);
    expect(() => new CallbackList([declared], constant(1))).toThrow(message);
  });

  test("is one that goes by a figure the run does not have", () => {
    const list = new CallbackList([of("EarlyStopping", {})], constant(1));
    expect(() => list.assertMonitored(["loss", "accuracy"])).toThrow(InvalidInputError);
    expect(() => list.assertMonitored(["loss", "accuracy"])).toThrow(
      'received "val_loss", expected one of loss, accuracy',
    );
    list.assertMonitored(["loss", "val_loss"]);
    new CallbackList([of("ModelCheckpoint", {})], constant(1)).assertMonitored(["loss"]);
  });

  test("is one that sets a rate which a schedule sets", () => {
    const scheduled = { at: () => 1, scheduled: true };
    expect(() => new CallbackList([of("ReduceLROnPlateau", {})], scheduled)).toThrow("beside a schedule");
    new CallbackList([of("EarlyStopping", {})], scheduled);
  });
});
