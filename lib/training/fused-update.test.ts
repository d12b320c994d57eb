/**
 * The update in one loop against the same update as ONNX Runtime computes it from the graph: every operation is rounded
 * the same way, so every element is the same to the bit. And the loop's own promises: which updates it takes, and that
 * denormal results are nought.
 */

import { readFileSync } from "node:fs";
import { LoadedGraph } from "../../test/support/graph-runner.ts";
import type { WeightSpec } from "../nn/layer.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { elementwiseModule } from "../onnx/wasm/elementwise.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { optimizerOf } from "../optim/table.ts";
import { RandomStream } from "../random/stream.ts";
import { FusedUpdate, updateGraph } from "./fused-update.ts";
import type { WeightPlan } from "./step-graph.ts";
import { layoutOf } from "./weight-layout.ts";

type Config = { class_name: string; config: Record<string, unknown> };
const casesOf = (file: string): Record<string, { config: Config }> =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/keras/${file}.json`, import.meta.url), "utf8")).cases;
const CONFIGS = [
  ...Object.entries(casesOf("optimizers")),
  ...Object.entries(casesOf("accumulation")).map(([name, given]) => [`${name}, accumulated`, given] as const),
].map(([name, { config }]) => [name, config] as const);
const byNorm = ([, { config }]: (typeof CONFIGS)[number]) =>
  "clipnorm" in config || "global_clipnorm" in config;

function plan(sizes: readonly number[], more: Partial<WeightSpec> = {}): WeightPlan {
  const trained = sizes.map((size, i) => ({
    name: `w${i}`,
    shape: [size],
    ...more,
  })) as unknown as WeightSpec[];
  const none: WeightSpec[] = [];
  return {
    trained,
    statistics: none,
    trainedLayout: layoutOf(trained),
    statisticsLayout: layoutOf(none),
    outputShapes: [],
    idLimits: [],
  };
}

/** The same steps on both; calls `compare` with the name and both vectors after each. */
async function together(
  optimizer: Optimizer,
  sizes: readonly number[],
  gradients: readonly Float32Array[],
  compare: (what: string, loop: Float32Array, graph: Float32Array) => void,
): Promise<void> {
  const fused = FusedUpdate.for(plan(sizes), optimizer)!;
  const loaded = await LoadedGraph.load(updateGraph(optimizer, sizes));
  const size = fused.gradient.length;
  const random = RandomStream.named(3, "weights");
  fused.weights[0].set(Float32Array.from({ length: size }, () => random.normal()));
  optimizer.slots.forEach((name, i) => void fused.slots[i]!.fill(optimizer.initialSlots?.[name] ?? 0));
  let weights = fused.weights[0].slice();
  let slots = fused.slots.map((slot) => slot.slice());
  const vector = (data: Float32Array) => ({ shape: [size], data });
  for (const [i, gradient] of gradients.entries()) {
    const scalars = optimizer.scalars(i + 1, optimizer.learningRate.at(i + 1));
    const before = fused.weights[i % 2]!.slice();
    fused.gradient.set(gradient);
    fused.run(fused.weights[i % 2]!, scalars);
    compare("weights before", fused.weights[i % 2]!, before);
    const found = await loaded.run({
      weights: vector(weights),
      gradient: vector(gradient),
      ...Object.fromEntries(optimizer.slots.map((name, k) => [`slot/${name}`, vector(slots[k]!)])),
      ...Object.fromEntries(scalars.map((v, k) => [`scalar${k}`, { shape: [], data: Float32Array.of(v) }])),
    });
    weights = found.weights_next!.data as Float32Array<ArrayBuffer>;
    slots = optimizer.slots.map((name) => found[`slot_next/${name}`]!.data as Float32Array<ArrayBuffer>);
    compare("weights", fused.weights[(i + 1) % 2]!, weights);
    optimizer.slots.forEach((name, k) => void compare(name, fused.slots[k]!, slots[k]!));
  }
  await loaded.release();
}

const same = (what: string, loop: Float32Array, graph: Float32Array) => {
  const at = loop.findIndex((value, i) => !Object.is(value + 0, graph[i]! + 0));
  expect({ what, at, loop: loop[at], graph: graph[at] }).toEqual({ what, at: -1 });
};

describe("the update in one loop", () => {
  const elementwise = CONFIGS.filter((given) => !byNorm(given));

  test.each(elementwise)("of %s is the graph's to the bit", async (_, config) => {
    for (const sizes of [[1], [3, 4], [64], [17, 5, 1000]]) {
      const random = RandomStream.named(sizes.length, "gradients");
      const size = sizes.reduce((a, b) => a + b, 0);
      const gradients = Array.from({ length: 7 }, () =>
        Float32Array.from({ length: size }, () => random.normal() * 10 ** (random.below(13) - 9)),
      );
      await together(optimizerOf(config), sizes, gradients, same);
    }
  });

  test.each(elementwise)(
    "of %s takes what is no number, and infinity, as the graph does",
    async (_, config) => {
      const odd = [Number.NaN, Infinity, -Infinity, 3e38, -3e38, 0, 1, -1, 1e-7];
      const gradients = [Float32Array.from(odd), Float32Array.from(odd.map(() => 1))];
      await together(optimizerOf(config), [odd.length], gradients, same);
    },
  );

  test.each(CONFIGS.filter(byNorm))("is not there for %s, which takes a norm", (_, config) => {
    expect(FusedUpdate.for(plan([4, 4]), optimizerOf(config))).toBeUndefined();
  });

  test("is not there for weights with a constraint, nor for no weights", () => {
    const constraint = (_: GraphBuilder, value: Value) => value;
    expect(FusedUpdate.for(plan([4], { constraint }), optimizerOf("Adam"))).toBeUndefined();
    expect(FusedUpdate.for(plan([]), optimizerOf("Adam"))).toBeUndefined();
  });

  test("is not there for more weights than one memory holds", () => {
    expect(FusedUpdate.for(plan([250_000_000]), optimizerOf("Adam"))).toBeUndefined();
  });

  test("ends a moment that vanishes at nought", () => {
    const optimizer = optimizerOf({ class_name: "SGD", config: { momentum: 0.5, learning_rate: 0 } });
    const fused = FusedUpdate.for(plan([5]), optimizer)!;
    fused.slots[0]!.fill(2 ** -125);
    fused.run(fused.weights[0], [0]);
    expect([...fused.slots[0]!]).toEqual(Array(5).fill(2 ** -126));
    fused.run(fused.weights[1], [0]);
    expect([...fused.slots[0]!]).toEqual(Array(5).fill(0));
  });
});

describe("a graph", () => {
  const made = (build: (g: GraphBuilder, x: Value) => Value) => {
    const graph = new GraphBuilder("g");
    graph.output(build(graph, graph.input("x", "FP32", [8])), "y");
    return elementwiseModule(graph.build());
  };

  test.each<[string, (g: GraphBuilder, x: Value) => Value]>([
    ["reduces", (g, x) => g.op("Mul", [x, g.op("ReduceSum", [x], { keepdims: 0 })])],
    ["cuts", (g, x) => g.op("Concat", g.ops("Split", [x, g.ints([4, 4])], 2, { axis: 0 }), { axis: 0 })],
    ["has an operator the loop does not know", (g, x) => g.op("Exp", [x])],
    ["has vectors of another length", (g, x) => g.op("Mul", [x, g.input("z", "FP32", [1])])],
    [
      "has vectors for constants",
      (g, x) =>
        g.op("Mul", [x, g.initializer("z", { datatype: "FP32", shape: [8], data: new Float32Array(8) })]),
    ],
  ])("that %s is no loop", (_, build) => {
    expect(made(build)).toBeUndefined();
    expect(made((g, x) => g.op("Neg", [x]))).toBeInstanceOf(Uint8Array);
  });
});
