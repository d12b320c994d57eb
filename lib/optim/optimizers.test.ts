/**
 * Ten steps of every optimiser against its published formula in double precision, and against Keras's own numbers.
 * Each float32 step rounds weights of size 2 by at most 1.2e-7 and the update by a little more: ten steps stay
 * within 3e-6·(1 + |w|).
 */

import { readFileSync } from "node:fs";
import { LoadedGraph, worstError } from "../../test/support/graph-runner.ts";
import { InvalidModelError, UnknownComponentError } from "../errors.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { optimizerOf } from "./table.ts";

type Case = {
  config: { class_name: string; config: Record<string, number | boolean> };
  initial: number[];
  gradients: number[][];
  weights: number[][];
};
const CASES: Record<string, Case> = JSON.parse(
  readFileSync(new URL("../../test/fixtures/keras/optimizers.json", import.meta.url), "utf8"),
);
const TOLERANCE = 3e-6;

/** The weights after each step, by the graph. */
async function steps(config: unknown, initial: number[], gradients: number[][]): Promise<number[][]> {
  const optimizer = optimizerOf(config);
  const graph = new GraphBuilder("update");
  const size = initial.length;
  const weights = graph.input("weights", "FP32", [size]);
  const gradient = graph.input("gradient", "FP32", [size]);
  const slots = optimizer.slots.map((name) => graph.input(`slot/${name}`, "FP32", [size]));
  const scalars = Array.from({ length: optimizer.scalarCount }, (_, i) =>
    graph.input(`scalar${i}`, "FP32", []),
  );
  const next = optimizer.update(graph, { weights, gradient, slots, scalars });
  graph.output(next.weights, "weights_next");
  next.slots.forEach((slot, i) => {
    graph.output(slot, `slot_next/${optimizer.slots[i]}`);
  });
  const loaded = await LoadedGraph.load(graph.build());
  const vector = (data: Float32Array) => ({ shape: [size], data });
  let current: Float32Array = Float32Array.from(initial);
  const kept = new Map<string, Float32Array>(optimizer.slots.map((name) => [name, new Float32Array(size)]));
  const history: number[][] = [];
  for (const [i, g] of gradients.entries()) {
    const found = await loaded.run({
      weights: vector(current),
      gradient: vector(Float32Array.from(g)),
      ...Object.fromEntries([...kept].map(([name, data]) => [`slot/${name}`, vector(data)])),
      ...Object.fromEntries(
        optimizer
          .scalars(i + 1)
          .map((value, j) => [`scalar${j}`, { shape: [], data: Float32Array.of(value) }]),
      ),
    });
    current = found.weights_next!.data as Float32Array;
    for (const name of optimizer.slots) kept.set(name, found[`slot_next/${name}`]!.data as Float32Array);
    history.push([...current]);
  }
  await loaded.release();
  return history;
}

/** Algorithm 1 of arXiv:1412.6980 with epsilon added as its section 2 ends ("α_t"), which is Keras's form. */
function adam(c: Record<string, number | boolean>, initial: number[], gradients: number[][]): number[][] {
  const [rate, b1, b2, epsilon] = [c.learning_rate, c.beta_1, c.beta_2, c.epsilon].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const [w, m, v] = [[...initial], initial.map(() => 0), initial.map(() => 0)];
  return gradients.map((g, i) => {
    const t = i + 1;
    const alpha = (rate * Math.sqrt(1 - b2 ** t)) / (1 - b1 ** t);
    g.forEach((gi, j) => {
      m[j] = b1 * m[j]! + (1 - b1) * gi;
      v[j] = b2 * v[j]! + (1 - b2) * gi * gi;
      w[j] = w[j]! - (alpha * m[j]!) / (Math.sqrt(v[j]!) + epsilon);
    });
    return [...w];
  });
}

/** velocity = µ·velocity - η·g; w += velocity, or with Nesterov w += µ·velocity - η·g (keras.io/api/optimizers/sgd). */
function sgd(c: Record<string, number | boolean>, initial: number[], gradients: number[][]): number[][] {
  const [rate, momentum] = [Number(c.learning_rate), Number(c.momentum)];
  const [w, velocity] = [[...initial], initial.map(() => 0)];
  return gradients.map((g) => {
    g.forEach((gi, j) => {
      velocity[j] = momentum * velocity[j]! - rate * gi;
      w[j] = w[j]! + (c.nesterov ? momentum * velocity[j]! - rate * gi : velocity[j]!);
    });
    return [...w];
  });
}

describe("optimisers", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: ten steps are Keras's`, async () => {
      const found = await steps(given.config, given.initial, given.gradients);
      expect(found).toHaveLength(10);
      expect(worstError(found.flat(), given.weights.flat())).toBeLessThan(TOLERANCE);
    });

    test(`${name}: ten steps are the published formula's`, async () => {
      const formula = given.config.class_name === "Adam" ? adam : sgd;
      const found = await steps(given.config, given.initial, given.gradients);
      expect(
        worstError(found.flat(), formula(given.config.config, given.initial, given.gradients).flat()),
      ).toBeLessThan(TOLERANCE);
    });
  }

  test("a bare name takes Keras's defaults", async () => {
    const { initial, gradients, weights } = CASES.adam!;
    expect(worstError((await steps("adam", initial, gradients)).flat(), weights.flat())).toBeLessThan(
      TOLERANCE,
    );
    expect(optimizerOf("SGD").scalars(1)).toEqual([0.01]);
  });

  test.each<[unknown, new (...args: never[]) => Error, string]>([
    ["Adom", UnknownComponentError, "did you mean 'Adam'?"],
    [
      { class_name: "Adam", config: { learning_rate: -1 } },
      InvalidModelError,
      "optimizer.learning_rate: received -1",
    ],
    [{ class_name: "Adam", config: { beta_1: 1 } }, InvalidModelError, "optimizer.beta_1: received 1"],
    [{ class_name: "Adam", config: { amsgrad: true } }, InvalidModelError, "amsgrad"],
    [{ class_name: "Adam", config: { lerning_rate: 1 } }, InvalidModelError, "did you mean 'learning_rate'?"],
    [{ class_name: "SGD", config: { clipnorm: 1 } }, InvalidModelError, "clipnorm: received 1"],
    [{ class_name: "SGD", config: { weight_decay: 0.1 } }, InvalidModelError, "weight_decay"],
    [{ class_name: "SGD", config: { use_ema: true } }, InvalidModelError, "use_ema"],
    [
      { class_name: "SGD", config: { learning_rate: { class_name: "ExponentialDecay", config: {} } } },
      InvalidModelError,
      "learning_rate",
    ],
    [{ class_name: "SGD", config: { nesterov: "yes" } }, InvalidModelError, "nesterov"],
    [7, InvalidModelError, "optimizer: received 7"],
  ])("%j is refused", (config, type, message) => {
    expect(() => optimizerOf(config)).toThrow(type);
    expect(() => optimizerOf(config)).toThrow(message);
  });
});
