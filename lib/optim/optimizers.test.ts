/**
 * Ten steps of every optimiser against its published formula in double precision, and against Keras's own numbers.
 * Each float32 step rounds weights of size 2 by at most 1.2e-7 and the update by a little more: ten steps stay
 * within 3e-6·(1 + |w|).
 */

import { readFileSync } from "node:fs";
import { LoadedGraph, worstError } from "../../test/support/graph-runner.ts";
import { formulaSteps } from "../../test/support/optimizer-formulas.ts";
import { InvalidModelError, UnknownComponentError } from "../errors.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import type { Optimizer } from "./optimizer.ts";
import { OPTIMIZERS, optimizerOf } from "./table.ts";

type Config = { class_name: string; config: Record<string, unknown> };
type Case = { config: Config; weights: number[][]; final: number[] };
const KERAS: {
  initial: number[];
  /** Elements of each of the weights that the vectors are made of. */
  sizes: number[];
  gradients: number[][];
  cases: Record<string, Case>;
} = JSON.parse(readFileSync(new URL("../../test/fixtures/keras/optimizers.json", import.meta.url), "utf8"));
const ACCUMULATION: typeof KERAS = JSON.parse(
  readFileSync(new URL("../../test/fixtures/keras/accumulation.json", import.meta.url), "utf8"),
);
const { initial: INITIAL, sizes: SIZES, gradients: GRADIENTS } = KERAS;
const TOLERANCE = 3e-6;

/** The graph of one update: weights, gradient, slots and scalars in, weights and slots out. */
function updateGraph(optimizer: Optimizer, sizes: readonly number[]): GraphBuilder {
  const graph = new GraphBuilder("update");
  const size = sizes.reduce((a, b) => a + b, 0);
  const weights = graph.input("weights", "FP32", [size]);
  const gradient = graph.input("gradient", "FP32", [size]);
  const slots = optimizer.slots.map((name) => graph.input(`slot/${name}`, "FP32", [size]));
  const scalars = Array.from({ length: optimizer.scalarCount }, (_, i) =>
    graph.input(`scalar${i}`, "FP32", []),
  );
  const next = optimizer.update(graph, { sizes, weights, gradient, slots, scalars });
  graph.output(next.weights, "weights_next");
  next.slots.forEach((slot, i) => {
    graph.output(slot, `slot_next/${optimizer.slots[i]}`);
  });
  return graph;
}

/** The weights after each step, by the graph, and those a run would end with. */
async function steps(
  config: unknown,
  initial = INITIAL,
  gradients = GRADIENTS,
  sizes = SIZES,
): Promise<{ weights: number[][]; final: number[] }> {
  const optimizer = optimizerOf(config);
  const size = initial.length;
  const loaded = await LoadedGraph.load(updateGraph(optimizer, sizes).build());
  const vector = (data: Float32Array) => ({ shape: [size], data });
  let current: Float32Array = Float32Array.from(initial);
  const kept = new Map<string, Float32Array>(
    optimizer.slots.map((name) => [name, new Float32Array(size).fill(optimizer.initialSlots?.[name] ?? 0)]),
  );
  const weights: number[][] = [];
  for (const [i, g] of gradients.entries()) {
    const found = await loaded.run({
      weights: vector(current),
      gradient: vector(Float32Array.from(g)),
      ...Object.fromEntries([...kept].map(([name, data]) => [`slot/${name}`, vector(data)])),
      ...Object.fromEntries(
        optimizer
          .scalars(i + 1, optimizer.learningRate.at(i + 1))
          .map((value, j) => [`scalar${j}`, { shape: [], data: Float32Array.of(value) }]),
      ),
    });
    current = found.weights_next!.data as Float32Array;
    for (const name of optimizer.slots) kept.set(name, found[`slot_next/${name}`]!.data as Float32Array);
    weights.push([...current]);
  }
  await loaded.release();
  return {
    weights,
    final: [...(optimizer.finalWeights === undefined ? current : kept.get(optimizer.finalWeights)!)],
  };
}

describe("ten steps", () => {
  test.each(Object.entries(KERAS.cases))("of %s are Keras's", async (_, given) => {
    const found = await steps(given.config);
    expect(found.weights).toHaveLength(10);
    expect(worstError(found.weights.flat(), given.weights.flat())).toBeLessThan(TOLERANCE);
    expect(worstError(found.final, given.final)).toBeLessThan(TOLERANCE);
  });

  const plain = Object.entries(KERAS.cases).filter(
    ([, { config }]) =>
      typeof config.config.learning_rate === "number" &&
      !config.config.use_ema &&
      !Object.keys(config.config).some((option) => option.includes("clip")),
  );

  test.each(plain)("of %s are the published formula's", async (_, { config }) => {
    const { weights } = await steps(config);
    expect(worstError(weights.flat(), formulaSteps(config, INITIAL, GRADIENTS).flat())).toBeLessThan(
      TOLERANCE,
    );
  });

  test("are checked against both for every optimiser", () => {
    expect(new Set(plain.map(([, { config }]) => config.class_name))).toEqual(
      new Set(Object.keys(OPTIMIZERS)),
    );
  });

  test.each(Object.keys(OPTIMIZERS))("of %s by its bare name take Keras's defaults", async (name) => {
    const bare = name === "SGD" ? undefined : KERAS.cases[name.toLowerCase()];
    if (bare)
      expect(worstError((await steps(name)).weights.flat(), bare.weights.flat())).toBeLessThan(TOLERANCE);
    expect(optimizerOf(name).learningRate.at(1)).toBe(name === "SGD" ? 0.01 : 0.001);
  });
});

describe("accumulated gradients", () => {
  test.each(Object.entries(ACCUMULATION.cases))("of %s update as Keras's do", async (_, given) => {
    const found = await steps(given.config, ACCUMULATION.initial, ACCUMULATION.gradients, ACCUMULATION.sizes);
    expect(found.weights).toHaveLength(14);
    expect(worstError(found.weights.flat(), given.weights.flat())).toBeLessThan(TOLERANCE);
    expect(worstError(found.final, given.final)).toBeLessThan(TOLERANCE);
  });

  test("are checked for every optimiser", () => {
    const checked = Object.values(ACCUMULATION.cases).map(({ config }) => config.class_name);
    expect(new Set(checked)).toEqual(new Set(Object.keys(OPTIMIZERS)));
  });

  test("leave the weights as they are to the bit until the update", async () => {
    const { weights } = await steps(ACCUMULATION.cases.adam!.config);
    expect(weights[1]).toEqual(INITIAL);
    expect(weights[2]).not.toEqual(INITIAL);
    expect(weights[4]).toEqual(weights[2]);
  });
});

describe("an update", () => {
  const operators = (config: unknown) =>
    updateGraph(optimizerOf(config), [4])
      .nodes.map((node) => node.op)
      .join(" ");

  test("of plain Adam is twelve operations, whatever options are off", () => {
    const plain = "Sub Mul Add Mul Sub Mul Add Mul Sqrt Add Div Sub";
    expect(operators("Adam")).toBe(plain);
    const off = { weight_decay: 0, clipnorm: null, use_ema: false, amsgrad: false, learning_rate: 0.1 };
    expect(operators({ class_name: "Adam", config: off })).toBe(plain);
    expect(optimizerOf("Adam").scalarCount).toBe(1);
  });

  test("does not depend on the steps before: scalars are the step's own", () => {
    for (const { config } of Object.values(KERAS.cases)) {
      const [one, other] = [optimizerOf(config), optimizerOf(config)];
      for (let step = 1; step <= 30; step++) one.scalars(step, 0.1);
      expect(one.scalars(31, 0.1)).toEqual(other.scalars(31, 0.1));
      expect(one.scalars(31, 0.1)).toHaveLength(one.scalarCount);
    }
  });

  test("stays finite after a million steps", () => {
    for (const { config } of Object.values(KERAS.cases))
      expect(optimizerOf(config).scalars(1_000_000, 0.1).every(Number.isFinite)).toBe(true);
  });

  test("of centred RMSprop survives gradients that never change", async () => {
    const config = { class_name: "RMSprop", config: { centered: true, rho: 0.5, epsilon: 1e-7 } };
    const constant = Array.from({ length: 60 }, () => [1e4, 333.3, -1234.5]);
    const { final } = await steps(config, [0, 0, 0], constant, [3]);
    expect(final.every(Number.isFinite)).toBe(true);
  });
});

describe("clipping", () => {
  const sgd = (option: Record<string, number>) => ({
    class_name: "SGD",
    config: { learning_rate: 1, ...option },
  });
  const move = async (option: Record<string, number>, gradient: number[], sizes: number[]) => {
    const zeros = gradient.map(() => 0);
    return (await steps(sgd(option), zeros, [gradient], sizes)).final.map((v) => -v);
  };

  test.each([{ clipnorm: 5 }, { global_clipnorm: 5 }, { clipvalue: 5 }])(
    "by %j leaves smaller gradients as they are, to the bit",
    async (option) => {
      const gradient = [0.1, -0.7, 3.3, 0.2].map(Math.fround);
      expect(await move(option, gradient, [2, 2])).toEqual(gradient);
      expect((await move(option, [0, 0, 0, 0], [2, 2])).every((v) => v === 0)).toBe(true);
    },
  );

  test("by norm keeps each weight's direction", async () => {
    expect(await move({ clipnorm: 1 }, [3, 4, 0.3, 0.4], [2, 2])).toEqual(
      [0.6, 0.8, 0.3, 0.4].map((v) => expect.closeTo(v, 6)),
    );
    expect(await move({ global_clipnorm: 1 }, [1, 1, 1, -1], [2, 2])).toEqual(
      [0.5, 0.5, 0.5, -0.5].map((v) => expect.closeTo(v, 6)),
    );
  });

  test.each([{ clipnorm: 1 }, { global_clipnorm: 1 }, { clipvalue: 1 }])(
    "by %j does not hide a gradient that is no number",
    async (option) => {
      expect((await move(option, [1, Number.NaN], [2]))[1]).toBeNaN();
    },
  );

  test("by global norm does not take an infinite norm for no gradient", async () => {
    expect((await move({ global_clipnorm: 1 }, [1e30, 1], [2])).every(Number.isNaN)).toBe(true);
  });
});

describe("a bad optimiser", () => {
  const decay = (config: object) => ({ learning_rate: { class_name: "ExponentialDecay", config } });

  test.each<[unknown, new (...args: never[]) => Error, string]>([
    ["Adom", UnknownComponentError, "did you mean 'Adam'?"],
    [7, InvalidModelError, "optimizer: received 7"],
    [
      { class_name: "Adam", config: { learning_rate: -1 } },
      InvalidModelError,
      "optimizer.learning_rate: received -1",
    ],
    [{ class_name: "Adam", config: { beta_1: 1 } }, InvalidModelError, "optimizer.beta_1: received 1"],
    [{ class_name: "Adam", config: { amsgrad: 1 } }, InvalidModelError, "amsgrad: received 1"],
    [{ class_name: "Adam", config: { lerning_rate: 1 } }, InvalidModelError, "did you mean 'learning_rate'?"],
    [{ class_name: "SGD", config: { nesterov: "yes" } }, InvalidModelError, "nesterov"],
    [{ class_name: "SGD", config: { amsgrad: true } }, InvalidModelError, "amsgrad: no such option"],
    [{ class_name: "Nadam", config: { beta_2: 1 } }, InvalidModelError, "beta_2: received 1"],
    [{ class_name: "Adamax", config: { epsilon: -1 } }, InvalidModelError, "epsilon: received -1"],
    [{ class_name: "RMSprop", config: { rho: 1.5 } }, InvalidModelError, "rho: received 1.5"],
    [{ class_name: "RMSprop", config: { momentum: -0.1 } }, InvalidModelError, "momentum: received -0.1"],
    [{ class_name: "RMSprop", config: { centered: "no" } }, InvalidModelError, "centered"],
    [{ class_name: "Adagrad", config: { initial_accumulator_value: -1 } }, InvalidModelError, "received -1"],
    [{ class_name: "Adadelta", config: { rho: 1 } }, InvalidModelError, "rho: received 1"],
    [
      { class_name: "Lion", config: { beta_1: 0 } },
      InvalidModelError,
      "received 0, expected a number above 0 to 1",
    ],
    [{ class_name: "Lion", config: { epsilon: 1 } }, InvalidModelError, "epsilon: no such option"],
    [
      { class_name: "SGD", config: { clipnorm: 0 } },
      InvalidModelError,
      "clipnorm: received 0, expected a number above 0 to ",
    ],
    [{ class_name: "SGD", config: { clipvalue: -1 } }, InvalidModelError, "clipvalue: received -1"],
    [
      { class_name: "SGD", config: { clipvalue: 1, global_clipnorm: 2 } },
      InvalidModelError,
      "null beside clipvalue",
    ],
    [{ class_name: "SGD", config: { weight_decay: -0.1 } }, InvalidModelError, "weight_decay: received -0.1"],
    [{ class_name: "SGD", config: { use_ema: 1 } }, InvalidModelError, "use_ema: received 1"],
    [
      { class_name: "SGD", config: { use_ema: true, ema_momentum: 2 } },
      InvalidModelError,
      "ema_momentum: received 2",
    ],
    [
      { class_name: "SGD", config: { use_ema: true, ema_overwrite_frequency: 0.5 } },
      InvalidModelError,
      "ema_overwrite_frequency: received 0.5",
    ],
    [
      { class_name: "SGD", config: { loss_scale_factor: 2 } },
      InvalidModelError,
      "loss_scale_factor: received 2",
    ],
    [
      { class_name: "SGD", config: { gradient_accumulation_steps: 1 } },
      InvalidModelError,
      "gradient_accumulation_steps: received 1, expected an integer of at least 2",
    ],
    [
      { class_name: "SGD", config: decay({}) },
      InvalidModelError,
      "optimizer.learning_rate.initial_learning_rate: received nothing",
    ],
    [
      { class_name: "SGD", config: { learning_rate: "0.1" } },
      InvalidModelError,
      'learning_rate: received "0.1"',
    ],
  ])("such as %j is refused", (config, type, message) => {
    expect(() => optimizerOf(config)).toThrow(type);
    expect(() => optimizerOf(config)).toThrow(message);
  });
});
