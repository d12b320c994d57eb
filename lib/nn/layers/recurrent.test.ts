/**
 * Recurrent layers beside what sequences.test.ts compares: dropout, for masks that Keras was given too; options that are refused, and in which words.
 */

import { readFileSync } from "node:fs";
import { normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import { GATE_ACTIVATIONS } from "../../onnx/gate-activations.ts";
import { inKerasOrder } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

const [BATCH, STEPS, DEPTH, UNITS] = [2, 4, 3, 4] as const;

type Layer = { class_name: string; config?: Record<string, unknown> };

const input = (shape: number[], dtype = "float32") => ({
  class_name: "InputLayer",
  config: { batch_shape: [null, ...shape], name: "x", dtype },
});
const network = (layers: Layer[], shape: number[] = [STEPS, DEPTH]) =>
  parseNetwork({
    class_name: "Sequential",
    config: { layers: [input(shape), ...layers.map((layer) => ({ config: {}, ...layer }))] },
  });

function build(layers: Layer[], training: boolean) {
  const graph = new GraphBuilder("case");
  const parsed = network(layers);
  const x = graph.input("x", "FP32", [BATCH, ...parsed.inputs[0]!.shape]);
  const built = buildNetwork(parsed, graph, [x], {
    training,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  graph.output(inKerasOrder(graph, built.outputs[0]!), "y");
  const feeds = Object.fromEntries(
    [
      ["x", [BATCH, STEPS, DEPTH]] as const,
      ...built.weights.map((spec) => [spec.name, spec.shape] as const),
    ].map(([name, shape]) => [name, { shape: [...shape], data: normals(name, shape) }]),
  );
  return { graph, built, feeds };
}

type Values = { shape: number[]; data: number[] };
type Dropped = {
  architecture: unknown;
  x: Values;
  weights: Record<string, Values>;
  /** [batch, size], or [batch, gates·size] where each gate drops elements of its own. */
  keeps: Values[];
  y: Values;
  cotangent: Values;
  gradients: Record<string, Values>;
};

const file = new URL("../../../test/fixtures/keras/recurrent-dropout.json", import.meta.url);
const DROPPED = JSON.parse(readFileSync(file, "utf8")) as Record<string, Dropped>;

describe("recurrent dropout and dropout", () => {
  test.each(Object.entries(DROPPED))("of %s drop as in Keras 3, forwards and backwards", async (_, given) => {
    const graph = new GraphBuilder("case");
    const x = graph.input("x", "FP32", given.x.shape);
    const values = new Map<string, Value>([["x", x]]);
    const built = buildNetwork(parseNetwork(given.architecture), graph, [x], {
      training: true,
      weightValue(spec) {
        const value = graph.input(spec.name, "FP32", spec.shape);
        values.set(spec.name, value);
        return value;
      },
    });
    expect(built.randomInputs.map(({ shape }) => shape)).toEqual(given.keeps.map(({ shape }) => shape));
    const { shape, data } = given.cotangent;
    const c = graph.initializer("c", { datatype: "FP32", shape, data: Float32Array.from(data) });
    const y = inKerasOrder(graph, built.outputs[0]!);
    const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
    const names = Object.keys(given.gradients);
    const found = gradients(
      graph,
      loss,
      names.map((name) => values.get(name)!),
    );
    for (const [i, name] of names.entries()) graph.output(found[i]!, `of ${name}`);
    graph.output(y, "y");
    const floats = Object.entries({ x: given.x, ...given.weights }).map(([name, fed]) => [
      name,
      { shape: fed.shape, data: Float32Array.from(fed.data) },
    ]);
    const masks = built.randomInputs.map(({ name }, i) => {
      const kept = given.keeps[i]!;
      return [name, { shape: kept.shape, datatype: "BOOL" as const, data: Uint8Array.from(kept.data) }];
    });
    const results = await runOnce(graph, Object.fromEntries([...floats, ...masks]));
    const wrong = Object.entries({ y: given.y, ...given.gradients }).filter(([name, expected]) => {
      const received = results[name === "y" ? name : `of ${name}`]!;
      return !(worstError(received.data as Float32Array, expected.data) < 2e-5);
    });
    expect(wrong.map(([name]) => name)).toEqual([]);
  });

  test("drop elements of its own for each gate when Keras is told so", () => {
    const { built } = build(
      [{ class_name: "GRU", config: { units: 2, dropout: 0.5, implementation: 1 } }],
      true,
    );
    expect(built.randomInputs.map(({ shape }) => shape)).toEqual([[BATCH, 3 * DEPTH]]);
  });

  test("are gone where the graph does not train", () => {
    const { built } = build(
      [{ class_name: "LSTM", config: { units: 2, dropout: 0.5, recurrent_dropout: 0.5 } }],
      false,
    );
    expect(built.randomInputs).toEqual([]);
  });
});

describe("ONNX's own recurrent operators", () => {
  const kinds: [string, Record<string, unknown>][] = [
    ["SimpleRNN", {}],
    ["LSTM", {}],
    ["GRU", { reset_after: true }],
    ["GRU", { reset_after: false }],
  ];
  test.each(kinds)(
    "answer as the trained form does with every activation: %s %p",
    async (class_name, more) => {
      const worst: Record<string, number> = {};
      for (const activation of Object.keys(GATE_ACTIVATIONS))
        for (const go_backwards of [false, true]) {
          const gates = class_name === "SimpleRNN" ? {} : { recurrent_activation: activation };
          for (const functions of [{ activation }, gates]) {
            const config = { units: UNITS, name: "cell", return_sequences: true, go_backwards };
            const layers = [{ class_name, config: { ...config, ...functions, ...more } }];
            const [trained, served] = [build(layers, true), build(layers, false)];
            expect(served.graph.nodes.some(({ op }) => op === class_name.replace("Simple", ""))).toBe(true);
            const small = Object.fromEntries(
              Object.entries(served.feeds).map(([name, { shape, data }]) => [
                name,
                { shape, data: data.map((v) => v / 2) },
              ]),
            );
            const [a, b] = [await runOnce(trained.graph, small), await runOnce(served.graph, small)];
            const error = worstError(b.y!.data as Float32Array, a.y!.data as Float32Array);
            if (!(error < 2e-5)) worst[JSON.stringify(functions)] = error;
          }
        }
      expect(worst).toEqual({});
    },
  );
});

describe("the weights of recurrent layers", () => {
  test("begin with the forget gate's bias at 1, unless told otherwise", () => {
    const initial = (config: Record<string, unknown>) => {
      const { built } = build([{ class_name: "LSTM", config: { units: 2, name: "cell", ...config } }], false);
      const { initializer, fans, shape } = built.weights.find(({ name }) => name === "cell/bias")!;
      return [...initializer(shape, fans, undefined as never)];
    };
    expect(initial({})).toEqual([0, 0, 1, 1, 0, 0, 0, 0]);
    expect(initial({ unit_forget_bias: false })).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  test("are shared by both applications of a layer, and each direction of Bidirectional has its own", () => {
    const cell = { class_name: "SimpleRNN", config: { units: 2, name: "cell" } };
    const { built } = build([{ class_name: "Bidirectional", config: { layer: cell, name: "both" } }], false);
    expect(built.weights.map(({ name }) => name)).toEqual(
      ["forward", "backward"].flatMap((side) =>
        ["kernel", "recurrent_kernel", "bias"].map((weight) => `both/${side}_cell/${weight}`),
      ),
    );
  });
});

describe("refused", () => {
  const cell = (config: Record<string, unknown> = {}, class_name = "LSTM") => ({
    class_name,
    config: { units: 2, name: "cell", ...config },
  });
  const both = (layer: unknown, config: Record<string, unknown> = {}) => ({
    class_name: "Bidirectional",
    config: { name: "both", layer, ...config },
  });
  const cases: [string, Layer[], string][] = [
    ["stateful layers", [cell({ stateful: true })], "cell'.stateful: received true"],
    ["steps before the batch", [cell({ time_major: true })], "cell'.time_major: received true"],
    ["no units", [cell({ units: 0 })], "cell'.units: received 0"],
    ["an activation no gate has", [cell({ activation: "gelu" })], "recurrent layer 'gelu'"],
    [
      "an activation with options",
      [cell({ activation: { class_name: "relu", config: { max_value: 6 } } })],
      "without options",
    ],
    ["all states dropped", [cell({ recurrent_dropout: 1 })], "cell'.recurrent_dropout: received 1"],
    ["an unknown option", [cell({ reset_after: true })], "cell'.reset_after: no such option"],
    ["both directions of no recurrent layer", [both(cell({}, "Dense"))], 'both\'.layer: received "Dense"'],
    [
      "both directions of nothing",
      [{ class_name: "Bidirectional", config: {} }],
      "expected a recurrent layer",
    ],
    [
      "an unknown way to merge",
      [both(cell(), { merge_mode: "max" })],
      'merge_mode: received "max", expected null or one of concat, sum, mul, ave',
    ],
    [
      "two layers of one direction",
      [both(cell(), { backward_layer: cell({ name: "other" }) })],
      "expected the other go_backwards",
    ],
    [
      "two layers with outputs of different kinds",
      [both(cell(), { backward_layer: cell({ go_backwards: true, return_sequences: true }) })],
      "return_sequences as the forward layer has it",
    ],
  ];
  test.each(cases)("%s", (_, layers, message) => {
    expect(() => network(layers)).toThrow(message);
  });

  test("inputs that are no sequences, and states that do not fit", () => {
    const applied = (layers: Layer[], shape: number[]) => () => {
      const graph = new GraphBuilder("case");
      const parsed = network(layers, shape);
      const x = graph.input("x", "FP32", [2, ...shape]);
      buildNetwork(parsed, graph, [x], {
        training: true,
        weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
      });
    };
    expect(applied([cell()], [3])).toThrow("needs [batch, steps, features], received [2,3]");
    expect(applied([{ class_name: "NotEqual" }], [3])).toThrow("NotEqual takes one tensor and one number");
    expect(applied([{ class_name: "LogicalOr" }], [3])).toThrow("LogicalOr takes two masks");
    expect(() => network([{ class_name: "ExpandDims" }], [3])).toThrow(
      "axis: received nothing, expected one axis",
    );
    expect(applied([{ class_name: "ExpandDims", config: { axis: 0 } }], [3])).toThrow(
      "axis: received 0, expected a place after the batch of [2,3]",
    );
    expect(() => network([{ class_name: "Any" }], [3])).toThrow("axis: received null, expected one axis");
    expect(applied([{ class_name: "Masking" }], [3])).toThrow(
      "needs [batch, steps, features], received [2,3]",
    );
    const functional = (className: string, states: string[]) =>
      parseNetwork({
        class_name: "Functional",
        config: {
          name: "net",
          layers: [
            { class_name: "InputLayer", name: "x", config: { batch_shape: [null, 4, 3] }, inbound_nodes: [] },
            { class_name: "InputLayer", name: "s", config: { batch_shape: [null, 3] }, inbound_nodes: [] },
            {
              ...cell({}, className),
              name: "cell",
              inbound_nodes: [[["x", 0, 0, {}], ...states.map((name) => [name, 0, 0, {}])]],
            },
          ],
          input_layers: [
            ["x", 0, 0],
            ["s", 0, 0],
          ],
          output_layers: [["cell", 0, 0]],
        },
      });
    const given = (className: string, states: string[]) => () => {
      const graph = new GraphBuilder("case");
      const inputs = [graph.input("x", "FP32", [2, 4, 3]), graph.input("s", "FP32", [2, 3])];
      buildNetwork(functional(className, states), graph, inputs, {
        training: true,
        weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
      });
    };
    expect(given("LSTM", ["s"])).toThrow("initial_state: received 1 tensors, expected 2");
    expect(given("GRU", ["s"])).toThrow("initial_state: received [2,3], expected [batch,2]");
  });
});
