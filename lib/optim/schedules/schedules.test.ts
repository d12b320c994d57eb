/**
 * Every learning-rate schedule against Keras's values, which it computes in float32: powers and cosines of
 * arguments rounded at 6e-8 differ from ours by less than 1e-6 of the initial rate.
 */

import { readFileSync } from "node:fs";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { optimizerOf } from "../table.ts";
import { SCHEDULES, scheduleOf } from "./table.ts";

type Config = { class_name: string; config: Record<string, unknown> };
const KERAS: { completedSteps: number[]; cases: Record<string, { config: Config; values: number[] }> } =
  JSON.parse(readFileSync(new URL("../../../test/fixtures/keras/schedules.json", import.meta.url), "utf8"));
const TORCH: Record<string, { config: Config; values: number[] }> = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/torch/one-cycle.json", import.meta.url), "utf8"),
);

const of = (class_name: string, config: Record<string, unknown>) => ({ class_name, config });
const START = { initial_learning_rate: 0.1 };

describe("a learning-rate schedule", () => {
  test.each(Object.entries(KERAS.cases))("%s has Keras's values", (_, { config, values }) => {
    const schedule = scheduleOf(config, "learning_rate");
    KERAS.completedSteps.forEach((completed, i) => {
      expect({ completed, off: Math.abs(schedule(completed) - values[i]!) < 1e-6 }).toEqual({
        completed,
        off: true,
      });
    });
  });

  test.each(Object.entries(TORCH))("OneCycle: %s has PyTorch's values", (_, { config, values }) => {
    const schedule = scheduleOf(config, "learning_rate");
    values.forEach((value, completed) => {
      expect(schedule(completed)).toBeCloseTo(value, 12);
    });
    expect(schedule(values.length + 100)).toBe(schedule(values.length - 1));
  });

  test("after a linear warm-up begins as it is, like Keras's CosineDecay with a warm-up of its own", () => {
    const { config, values } = KERAS.cases.cosine_warmup!;
    const { initial_learning_rate, warmup_target, warmup_steps, ...rest } = config.config;
    const learning_rate = of("CosineDecay", { ...rest, initial_learning_rate: warmup_target });
    const warm = scheduleOf(of("LinearWarmup", { initial_learning_rate, warmup_steps, learning_rate }), "lr");
    KERAS.completedSteps.forEach((completed, i) => {
      expect(Math.abs(warm(completed) - values[i]!)).toBeLessThan(1e-6);
    });
    const plain = scheduleOf(of("LinearWarmup", { warmup_steps: 4, learning_rate: 0.2 }), "lr");
    expect([0, 1, 2, 3, 4, 5, 1000].map(plain)).toEqual(
      [0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2].map((rate) => expect.closeTo(rate, 12)),
    );
  });

  test("has a case for each in the table", () => {
    const checked = Object.values(KERAS.cases).map(({ config }) => config.class_name);
    expect(new Set([...checked, "OneCycle", "LinearWarmup"])).toEqual(new Set(Object.keys(SCHEDULES)));
  });

  test("counts the steps completed: the first step has the initial rate", () => {
    const learning_rate = of("PiecewiseConstantDecay", { boundaries: [0, 1], values: [3, 2, 1] });
    const { learningRate, scalars } = optimizerOf(of("SGD", { learning_rate }));
    expect([1, 2, 3, 4].map(learningRate.at)).toEqual([3, 2, 1, 1]);
    expect(scalars(2, learningRate.at(2))).toEqual([2]);
  });

  test.each([1.5, 2, 3, 10])("restarts on the very step a period ends, growing by %f", (t_mul) => {
    const schedule = scheduleOf(of("CosineDecayRestarts", { ...START, first_decay_steps: 1, t_mul }), "lr");
    for (let i = 1, start = 1; i < 12; i++, start = start * t_mul + 1) {
      expect(schedule(start)).toBeCloseTo(0.1, 9);
      expect(schedule(start * (1 - 1e-7))).toBeLessThan(1e-6);
    }
  });

  test.each<[unknown, new (...args: never[]) => Error, string]>([
    [of("ExponentialDekay", {}), UnknownComponentError, "did you mean 'ExponentialDecay'?"],
    [
      of("ExponentialDecay", { ...START, decay_rate: 0.5 }),
      InvalidModelError,
      "lr.decay_steps: received nothing",
    ],
    [
      of("ExponentialDecay", { ...START, decay_rate: 0.5, decay_steps: 0 }),
      InvalidModelError,
      "lr.decay_steps: received 0, expected a number above 0 to ",
    ],
    [
      of("ExponentialDecay", { ...START, decay_rate: -1, decay_steps: 1 }),
      InvalidModelError,
      "decay_rate: received -1",
    ],
    [
      of("InverseTimeDecay", { ...START, decay_rate: 1, decay_steps: 1, staircase: 1 }),
      InvalidModelError,
      "staircase: received 1",
    ],
    [of("CosineDecay", { ...START, decay_steps: 9, alfa: 1 }), InvalidModelError, "did you mean 'alpha'?"],
    [of("CosineDecay", { ...START, decay_steps: 9, alpha: 2 }), InvalidModelError, "alpha: received 2"],
    [
      of("CosineDecay", { ...START, decay_steps: 9, warmup_steps: 3 }),
      InvalidModelError,
      "warmup_steps: received 3, expected 0, or a warmup_target with it",
    ],
    [
      of("CosineDecayRestarts", { ...START, first_decay_steps: 9, t_mul: 0.5 }),
      InvalidModelError,
      "t_mul: received 0.5",
    ],
    [of("PolynomialDecay", { ...START, decay_steps: 9, power: -1 }), InvalidModelError, "power: received -1"],
    [of("PolynomialDecay", { ...START, decay_steps: 9, cycle: "yes" }), InvalidModelError, "cycle"],
    [
      of("PiecewiseConstantDecay", { boundaries: [], values: [1] }),
      InvalidModelError,
      "boundaries: received []",
    ],
    [of("PiecewiseConstantDecay", { boundaries: [3, 3], values: [1, 2, 3] }), InvalidModelError, "rising"],
    [of("PiecewiseConstantDecay", { boundaries: [3], values: [1] }), InvalidModelError, "expected 2 rates"],
    [
      of("PiecewiseConstantDecay", { boundaries: [3], values: [1, -1] }),
      InvalidModelError,
      "values: received [1,-1]",
    ],
    [of("OneCycle", { max_lr: 1 }), InvalidModelError, "total_steps: received nothing"],
    [of("OneCycle", { max_lr: 1, total_steps: 3 }), InvalidModelError, "pct_start: received 0.3"],
    [
      of("OneCycle", { max_lr: 1, total_steps: 90, pct_start: 0.6, three_phase: true }),
      InvalidModelError,
      "pct_start: received 0.6",
    ],
    [
      of("OneCycle", { max_lr: 1, total_steps: 90, anneal_strategy: "sin" }),
      InvalidModelError,
      "anneal_strategy",
    ],
    [of("OneCycle", { max_lr: 1, total_steps: 90, base_momentum: 1 }), InvalidModelError, "base_momentum"],
    [of("LinearWarmup", { warmup_steps: 5 }), InvalidModelError, "learning_rate: received nothing"],
    [of("LinearWarmup", { learning_rate: 1 }), InvalidModelError, "warmup_steps: received nothing"],
    [
      of("LinearWarmup", { warmup_steps: 5, learning_rate: of("CosineDekay", {}) }),
      UnknownComponentError,
      "did you mean 'CosineDecay'?",
    ],
    [[1, 2], InvalidModelError, "received [1,2]"],
  ])("such as %j is refused", (config, type, message) => {
    expect(() => scheduleOf(config, "lr")).toThrow(type);
    expect(() => scheduleOf(config, "lr")).toThrow(message);
  });
});
