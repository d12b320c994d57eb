/**
 * Activations in options that are not their defaults, against their formulas in double precision: values, and
 * gradients against central differences of the formula. Values of unit scale in float32: 1e-5·(1 + |v|); differences
 * with h = 1e-6 in doubles are good to 1e-9. What Keras computes by default is in keras.test.ts.
 */

import { runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { ACTIVATIONS, activationOf } from "./table.ts";

type Formula = (x: number) => number;

/** From -4 to 4, off every kink of the cases by more than 0.005. */
const POINTS = Float32Array.from({ length: 81 }, (_, i) => (i - 40) / 10 + 0.0137);

const clip = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const sigmoid: Formula = (x) => 1 / (1 + Math.exp(-x));

const CASES: [string, Record<string, unknown>, Formula][] = [
  ["relu", { negative_slope: 0.2 }, (x) => (x > 0 ? x : 0.2 * x)],
  ["relu", { max_value: 1.5 }, (x) => clip(x, 0, 1.5)],
  ["relu", { threshold: 1 }, (x) => (x > 1 ? x : 0)],
  [
    "ReLU",
    { max_value: 2, negative_slope: 0.1, threshold: 1 },
    (x) => (x > 1 ? Math.min(x, 2) : 0.1 * (x - 1)),
  ],
  ["ReLU", { maxValue: 3 }, (x) => clip(x, 0, 3)],
  ["ThresholdedReLU", { theta: 0.7 }, (x) => (x > 0.7 ? x : 0)],
  ["ThresholdedReLU", {}, (x) => (x > 1 ? x : 0)],
  ["leaky_relu", { negative_slope: 0.45 }, (x) => (x > 0 ? x : 0.45 * x)],
  ["leaky_relu", {}, (x) => (x > 0 ? x : 0.2 * x)],
  ["LeakyReLU", {}, (x) => (x > 0 ? x : 0.3 * x)],
  ["LeakyReLU", { alpha: 0.05 }, (x) => (x > 0 ? x : 0.05 * x)],
  ["elu", { alpha: 0.6 }, (x) => (x > 0 ? x : 0.6 * Math.expm1(x))],
  ["ELU", { alpha: 1.7 }, (x) => (x > 0 ? x : 1.7 * Math.expm1(x))],
  ["celu", { alpha: 0.4 }, (x) => (x > 0 ? x : 0.4 * Math.expm1(x / 0.4))],
  ["celu", { alpha: 2 }, (x) => (x > 0 ? x : 2 * Math.expm1(x / 2))],
  [
    "gelu",
    { approximate: true },
    (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  ],
  ["squareplus", { b: 1 }, (x) => (x + Math.sqrt(x * x + 1)) / 2],
  ["soft_shrink", { threshold: 1 }, (x) => (Math.abs(x) > 1 ? x - Math.sign(x) : 0)],
  ["hard_shrink", { threshold: 1 }, (x) => (Math.abs(x) > 1 ? x : 0)],
  ["hard_swish", {}, (x) => (x * clip(x + 3, 0, 6)) / 6],
  ["keras2_hard_sigmoid", {}, (x) => clip(0.2 * x + 0.5, 0, 1)],
  ["gelu_new", {}, (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))],
  ["hardSigmoid", {}, (x) => clip(x + 3, 0, 6) / 6],
  ["swish", {}, (x) => x * sigmoid(x)],
  ["mish", {}, (x) => x * Math.tanh(Math.log1p(Math.exp(x)))],
  ["log_sigmoid", {}, (x) => Math.log(sigmoid(x))],
];

describe("activations with options", () => {
  test.each(CASES)("%s %j is its formula, and so is its gradient", async (class_name, config, formula) => {
    const graph = new GraphBuilder("activation");
    const x = graph.input("x", "FP32", [POINTS.length]);
    const y = activationOf({ class_name, config })(graph, { value: x }).value;
    const sum = graph.op("ReduceSum", [y], { keepdims: 0 });
    graph.output(gradients(graph, sum, [x])[0]!, "dx");
    graph.output(y, "y");
    const found = await runOnce(graph, { x: { shape: [POINTS.length], data: POINTS } });
    expect(worstError(found.y!.data as Float32Array, Array.from(POINTS, formula))).toBeLessThan(1e-5);
    const slopes = Array.from(POINTS, (v) => (formula(v + 1e-6) - formula(v - 1e-6)) / 2e-6);
    expect(worstError(found.dx!.data as Float32Array, slopes)).toBeLessThan(1e-5);
  });

  test.each([
    ["relu", { negative_slope: -1 }, "negative_slope: received -1"],
    ["relu", { max_value: -1 }, "max_value: received -1"],
    ["ReLU", { threshold: -1 }, "threshold: received -1"],
    ["ReLU", { alpha: 1 }, "alpha: no such option"],
    ["tanh", { approximate: true }, "approximate: no such option"],
    ["celu", { alpha: 0 }, "alpha: received 0"],
    ["gelu", { approximate: "tanh" }, "approximate: received"],
    ["softmax", { axis: "last" }, "axis: received"],
    ["Softmax", { axis: [1, 2] }, "axis: received"],
  ])("%s refuses %j", (class_name, config, words) => {
    expect(() => activationOf({ class_name, config })).toThrow(InvalidModelError);
    expect(() => activationOf({ class_name, config })).toThrow(words);
  });

  test("names that are none are refused with the nearest", () => {
    expect(() => activationOf("leaky_rleu")).toThrow(UnknownComponentError);
    expect(() => activationOf("leaky_rleu")).toThrow("did you mean 'leaky_relu'");
  });
});

describe("the scores behind probabilities", () => {
  const graph = new GraphBuilder("scores");
  const rows = graph.input("rows", "FP32", [2, 3]);
  const cube = graph.input("cube", "FP32", [2, 3, 4]);
  const softmax = (config: Record<string, unknown>) => activationOf({ class_name: "Softmax", config });

  test("are kept by softmax along the last axis, as a function and as a layer, and by sigmoid", () => {
    const kept = { value: rows, activation: "softmax" };
    expect(activationOf("softmax")(graph, { value: rows }).logits).toEqual(kept);
    expect(softmax({})(graph, { value: rows }).logits).toEqual(kept);
    expect(softmax({ axis: 1 })(graph, { value: rows }).logits).toEqual(kept);
    expect(softmax({ axis: [-1] })(graph, { value: cube }).logits?.value).toBe(cube);
    expect(activationOf("sigmoid")(graph, { value: rows }).logits).toEqual({
      value: rows,
      activation: "sigmoid",
    });
  });

  test("are not claimed of another axis, nor of functions that give no probabilities", () => {
    expect(softmax({ axis: 1 })(graph, { value: cube }).logits).toBeUndefined();
    for (const name of Object.keys(ACTIVATIONS))
      if (name !== "softmax" && name !== "sigmoid")
        expect(activationOf(name)(graph, { value: rows }).logits).toBeUndefined();
  });

  test("along the last axis are in Keras's order", () => {
    const image = graph.input("image", "FP32", [2, 5, 3, 4]);
    const given = softmax({})(graph, { value: image, order: [0, 3, 1, 2] });
    expect(given.order).toBeUndefined();
    expect(given.value.shape).toEqual([2, 3, 4, 5]);
    expect(given.logits?.value.shape).toEqual([2, 3, 4, 5]);
    const inner = softmax({ axis: 2 })(graph, { value: image, order: [0, 3, 1, 2] });
    expect(inner).toMatchObject({ order: [0, 3, 1, 2], value: { shape: [2, 5, 3, 4] } });
    expect(graph.nodes.find(({ outputs }) => outputs[0] === inner.value.name)!.attributes).toEqual({
      axis: 3,
    });
  });

  test("a softmax layer refuses a mask, of which it would leave places out in Keras", () => {
    const mask = graph.input("mask", "BOOL", [2, 3]);
    expect(() => softmax({})(graph, { value: rows, mask })).toThrow("received one with a mask");
  });
});
