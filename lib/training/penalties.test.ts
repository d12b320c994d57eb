/**
 * Regularisers and constraints in one step of SGD, against Keras: the loss with all penalties, in training and in
 * evaluation, and the weights after it. Sums of some hundred float32 terms in another order: 2e-5·(1 + |v|).
 */

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { normals, runOnce, worstError } from "../../test/support/graph-runner.ts";
import { InvalidModelError, UnknownComponentError } from "../errors.ts";
import type { WeightSpec } from "../nn/layer.ts";
import { lossOf } from "../nn/losses/table.ts";
import { buildNetwork, parseNetwork } from "../nn/network.ts";
import { inMemoryOrder } from "../nn/weight-order.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { optimizerOf } from "../optim/table.ts";
import { constrainWeights } from "./constrain-weights.ts";
import { compileEvaluationStep, compileTrainingStep, planWeights } from "./step-graph.ts";

type Values = { shape: number[]; data: number[] };
type Case = {
  architecture: unknown;
  x: Values;
  y: Values;
  weights: Record<string, Values>;
  loss: number;
  after: Record<string, Values>;
  evaluation: number;
};
const CASES: Record<string, Case> = JSON.parse(
  readFileSync(new URL("../../test/fixtures/keras/penalties.json", import.meta.url), "utf8"),
);
const TOLERANCE = 2e-5;

/** A session's answers on one batch. */
async function run(bytes: Uint8Array, feeds: Record<string, Tensor>) {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

const vector = (data: Float32Array) => new Tensor("float32", data, [data.length]);

/** The named weights as one vector, in the plan's order. */
function flatOf(specs: readonly WeightSpec[], weights: Record<string, Values>): Float32Array {
  const parts = specs.map((spec) => inMemoryOrder(Float32Array.from(weights[spec.name]!.data), spec));
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

describe("a step with penalties and constraints, as Keras takes it", () => {
  test.each(Object.entries(CASES))("%s", async (_, given) => {
    const network = parseNetwork(given.architecture);
    const plan = planWeights(network);
    const [batch, ...features] = given.x.shape as [number, ...number[]];
    const spec = {
      network,
      objective: [{ loss: lossOf("mse"), weight: 1 }],
      batchSize: batch,
      data: {
        inputs: [{ name: "x", shape: features, datatype: "FP32" as const }],
        targets: [{ name: "y", shape: given.y.shape.slice(1), datatype: "FP32" as const }],
      },
    };
    const optimizer = optimizerOf({ class_name: "SGD", config: { learning_rate: 0.1 } });
    const feeds = (weights: Record<string, Values>): Record<string, Tensor> => ({
      [`input/${network.inputs[0]!.name}`]: new Tensor(
        "float32",
        Float32Array.from(given.x.data),
        given.x.shape,
      ),
      [`target/${network.outputs[0]!.name}`]: new Tensor(
        "float32",
        Float32Array.from(given.y.data),
        given.y.shape,
      ),
      weights: vector(flatOf(plan.trained, weights)),
      ...(plan.statistics.length > 0 ? { statistics: vector(flatOf(plan.statistics, weights)) } : {}),
    });

    const step = await run(compileTrainingStep(plan, spec, optimizer).bytes, {
      ...feeds(given.weights),
      scalars: vector(Float32Array.from(optimizer.scalars(1, optimizer.learningRate.at(1)))),
    });
    expect(worstError(step.loss!.data as Float32Array, [given.loss])).toBeLessThan(TOLERANCE);
    const next = step.weights_next!.data as Float32Array;
    for (const { name, offset, size } of plan.trainedLayout.slices) {
      const weight = plan.trained.find((spec) => spec.name === name)!;
      const error = worstError(next.subarray(offset, offset + size), flatOf([weight], given.after));
      expect({ name, error }).toEqual({ name, error: expect.closeTo(0, 4) });
    }

    const after = await run(compileEvaluationStep(plan, spec), feeds(given.after));
    expect(worstError(after.loss!.data as Float32Array, [given.evaluation])).toBeLessThan(TOLERANCE);
  });
});

describe("regularisers and constraints", () => {
  const dense = (config: Record<string, unknown>, class_name = "Dense") => ({
    class_name: "Sequential",
    config: {
      name: "net",
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, 3] } },
        { class_name, config: { units: 1, ...config } },
      ],
    },
  });
  const build = (architecture: unknown, batch: number | string = 2) => {
    const graph = new GraphBuilder("net");
    const built = buildNetwork(parseNetwork(architecture), graph, [graph.input("x", "FP32", [batch, 3])], {
      training: false,
      weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
    });
    return { graph, ...built };
  };
  const named = (class_name: string, config: Record<string, unknown> = {}) => ({ class_name, config });

  test("leave nothing in a graph that computes no loss", () => {
    const plain = build(dense({})).graph.nodes.length;
    const penalised = build(dense({ kernel_regularizer: "l2", activity_regularizer: "l1" }), "batch");
    expect(penalised.graph.nodes).toHaveLength(plain);
    expect(penalised.penalties).toHaveLength(2);
  });

  test("of TensorFlow.js are read", () => {
    const { weights, penalties } = build(
      dense({
        kernelRegularizer: { className: "L1L2", config: { l1: 0.1, l2: 0 } },
        kernelConstraint: { className: "MaxNorm", config: { maxValue: 1, axis: 0 } },
        biasConstraint: { className: "MinMaxNorm", config: { minValue: 0.1, maxValue: 1, rate: 1, axis: 0 } },
      }),
    );
    expect(penalties).toHaveLength(1);
    expect(weights.map(({ constraint }) => constraint !== undefined)).toEqual([true, true]);
  });

  test("a regulariser of nought adds nothing", () => {
    const { penalties } = build(dense({ kernel_regularizer: named("L1L2") }));
    expect(penalties.map((penalty) => penalty())).toEqual([undefined]);
  });

  test("a shared layer's weight is penalised once", () => {
    const reference = (name: string, node: number) => ({
      class_name: "__keras_tensor__",
      config: { keras_history: [name, node, 0] },
    });
    const architecture = {
      class_name: "Functional",
      config: {
        name: "net",
        layers: [
          {
            class_name: "InputLayer",
            name: "x",
            config: { batch_shape: [null, 3], name: "x" },
            inbound_nodes: [],
          },
          {
            class_name: "Dense",
            name: "d",
            config: { name: "d", units: 3, kernel_regularizer: "l2", activity_regularizer: "l1" },
            inbound_nodes: [
              { args: [reference("x", 0)], kwargs: {} },
              { args: [reference("d", 0)], kwargs: {} },
            ],
          },
        ],
        input_layers: [["x", 0, 0]],
        output_layers: [["d", 1, 0]],
      },
    };
    // The weight once, the outputs of both applications.
    expect(build(architecture).penalties).toHaveLength(3);
  });

  test("weights without a constraint pass through untouched", async () => {
    const specs = build(dense({})).weights;
    const graph = new GraphBuilder("net");
    const flat = graph.input("flat", "FP32", [4]);
    expect(constrainWeights(graph, flat, specs)).toBe(flat);
  });

  test("one constraint alone needs no cutting", async () => {
    const specs = build(dense({ use_bias: false, kernel_constraint: "non_neg" })).weights;
    const graph = new GraphBuilder("net");
    graph.output(constrainWeights(graph, graph.input("flat", "FP32", [3]), specs), "next");
    const flat = normals("flat", [3]);
    const { next } = await runOnce(graph, { flat: { shape: [3], data: flat } });
    expect([...(next!.data as Float32Array)]).toEqual([...flat].map((v) => Math.max(v, 0)));
  });

  test.each<
    [string, Record<string, unknown>, typeof InvalidModelError | typeof UnknownComponentError, string]
  >([
    [
      "an unknown regulariser",
      { kernel_regularizer: "l3" },
      UnknownComponentError,
      "Unknown regularizer 'l3'",
    ],
    [
      "a negative share",
      { kernel_regularizer: named("L2", { l2: -1 }) },
      InvalidModelError,
      "l2: received -1",
    ],
    [
      "an option it lacks",
      { bias_regularizer: named("L1", { l2: 1 }) },
      InvalidModelError,
      "l2: no such option",
    ],
    [
      "another mode",
      { kernel_regularizer: named("OrthogonalRegularizer", { mode: "all" }) },
      InvalidModelError,
      "mode",
    ],
    [
      "an unknown constraint",
      { kernel_constraint: "MaxNrom" },
      UnknownComponentError,
      "did you mean 'MaxNorm'?",
    ],
    [
      "an axis of words",
      { kernel_constraint: named("UnitNorm", { axis: "all" }) },
      InvalidModelError,
      "one axis",
    ],
    ["no axis", { kernel_constraint: named("UnitNorm", { axis: [] }) }, InvalidModelError, "one axis"],
    [
      "a negative norm",
      { kernel_constraint: named("MaxNorm", { max_value: -1 }) },
      InvalidModelError,
      "max_value",
    ],
    [
      "norms upside down",
      { kernel_constraint: named("MinMaxNorm", { min_value: 2, max_value: 1 }) },
      InvalidModelError,
      "max_value",
    ],
    ["a number", { activity_regularizer: 0.1 }, InvalidModelError, "activity_regularizer"],
  ])("refuse %s", (_, config, type, words) => {
    expect(() => parseNetwork(dense(config))).toThrow(type);
    expect(() => parseNetwork(dense(config))).toThrow(words);
  });

  test("refuse an axis that the weight does not have", () => {
    const specs = build(dense({ kernel_constraint: named("UnitNorm", { axis: 2 }) })).weights;
    const graph = new GraphBuilder("net");
    const flat = graph.input("flat", "FP32", [4]);
    expect(() => constrainWeights(graph, flat, specs)).toThrow(
      "received 2, expected an axis of a weight of rank 2",
    );
  });

  test("are refused with the network's weights, before anything is trained", () => {
    const axis = dense({ kernel_constraint: named("UnitNorm", { axis: 2 }) });
    expect(() => planWeights(parseNetwork(axis))).toThrow("expected an axis of a weight of rank 2");
    const matrix = dense({ bias_regularizer: named("OrthogonalRegularizer") });
    expect(() => planWeights(parseNetwork(matrix))).toThrow("expected a matrix");
  });

  test("refuse an orthogonal kernel that is no matrix", () => {
    const { penalties } = build(dense({ bias_regularizer: named("OrthogonalRegularizer") }));
    expect(() => penalties[0]!()).toThrow("received [1], expected a matrix");
  });
});
