/**
 * Functional models: how they may be written, what is refused and in which words, how few transpositions merged
 * branches cost, and that frozen and shared layers survive the step graphs and the served graph.
 */

import { normals, runOnce } from "../../test/support/graph-runner.ts";
import { InvalidModelError } from "../errors.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { planWeights } from "../training/step-graph.ts";
import { buildNetwork, parseNetwork } from "./network.ts";

type Layer = { class_name: string; name: string; config: Record<string, unknown>; inbound_nodes: unknown };

const tensor = (layer: string, application = 0, output = 0) => ({
  class_name: "__keras_tensor__",
  config: { shape: [null], dtype: "float32", keras_history: [layer, application, output] },
});
/** One application per argument: the names of the layers it reads. */
const applied = (...applications: (string | [string, number])[][]) =>
  applications.map((inputs) => {
    const tensors = inputs.map((from) => (typeof from === "string" ? tensor(from) : tensor(...from)));
    return { args: tensors.length === 1 ? tensors : [tensors], kwargs: {} };
  });
const layer = (
  class_name: string,
  name: string,
  inbound_nodes: unknown,
  config: Record<string, unknown> = {},
): Layer => ({ class_name, name, config: { name, ...config }, inbound_nodes });
const input = (name: string, ...sizes: number[]) =>
  layer("InputLayer", name, [], { batch_shape: [null, ...sizes] });
const functional = (layers: unknown[], output: unknown = "out", ends: unknown = ["x", 0, 0]) => ({
  class_name: "Functional",
  config: {
    name: "net",
    trainable: true,
    layers,
    input_layers: ends,
    output_layers: typeof output === "string" ? [output, 0, 0] : output,
  },
});
const dense = (name: string, inbound: unknown, config: Record<string, unknown> = {}) =>
  layer("Dense", name, inbound, { units: 3, ...config });

function build(architecture: unknown, training = false) {
  const graph = new GraphBuilder("net");
  const network = parseNetwork(architecture);
  const inputs = network.inputs.map(({ name, shape, datatype }) =>
    graph.input(name, datatype, [2, ...shape]),
  );
  const built = buildNetwork(network, graph, inputs, {
    training,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  return { graph, network, ...built };
}

describe("functional models", () => {
  const chain = [input("x", 4), dense("a", applied(["x"])), dense("out", applied(["a"]))];

  test("name their input, their output layer and their weights as declared", () => {
    const { network, weights } = build(functional(chain));
    expect(network.inputs).toEqual([{ name: "x", shape: [4], datatype: "FP32" }]);
    expect(network.outputs[0]!.name).toBe("out");
    expect(weights.map(({ name }) => name)).toEqual(["a/kernel", "a/bias", "out/kernel", "out/bias"]);
  });

  test.each([
    ["a triple", ["out", 0, 0], ["x", 0, 0]],
    ["a list of triples", [["out", 0, 0]], [["x", 0, 0]]],
    ["triples by name", { y: ["out", 0, 0] }, { x: ["x", 0, 0] }],
  ])("may write their ends as %s", (_, output, ends) => {
    expect(build(functional(chain, output, ends)).outputs[0]!.value.shape).toEqual([2, 3]);
  });

  test("may declare layers in any order", () => {
    expect(build(functional(chain.toReversed())).outputs[0]!.value.shape).toEqual([2, 3]);
  });

  test("may write a single tensor of Keras 2 without a list around it, and camel case", () => {
    const [x, a] = chain;
    const { inbound_nodes: _, ...out } = dense("out", []);
    const { class_name, config } = functional([x, a, { ...out, inboundNodes: [["a", 0, 0, {}]] }]);
    const { input_layers: inputLayers, output_layers: outputLayers, ...rest } = config;
    const camel = { className: class_name, config: { ...rest, inputLayers, outputLayers } };
    expect(build(camel).outputs[0]!.value.shape).toEqual([2, 3]);
  });

  test("declare a shared layer's weights once, in the inner model's name too", () => {
    const inner = functional([input("x", 4), dense("out", applied(["x"]), { units: 4 })]);
    const block = { ...inner, name: "block", inbound_nodes: applied(["x"], ["block"]) };
    const { weights, outputs } = build(functional([input("x", 4), block], ["block", 2, 0]));
    expect(weights.map(({ name }) => name)).toEqual(["block/out/kernel", "block/out/bias"]);
    expect(outputs[0]!.value.shape).toEqual([2, 4]);
  });

  test("have several inputs and outputs, in the order they are declared in", () => {
    const { network, outputs } = build(
      functional(
        [
          input("x", 4),
          { ...input("ids", 2), config: { batch_shape: [null, 2], dtype: "int32", name: "ids" } },
          layer("Concatenate", "both", applied(["x", "ids"])),
          dense("a", applied(["both"])),
          dense("b", applied(["a"]), { units: 5 }),
        ],
        [
          ["b", 0, 0],
          ["a", 0, 0],
          ["b", 0, 0],
        ],
        [
          ["ids", 0, 0],
          ["x", 0, 0],
        ],
      ),
    );
    expect(network.inputs).toEqual([
      { name: "ids", shape: [2], datatype: "INT32" },
      { name: "x", shape: [4], datatype: "FP32" },
    ]);
    expect(network.outputs.map(({ name }) => name)).toEqual(["b", "a", "b_1"]);
    expect(outputs.map(({ value }) => value.shape)).toEqual([
      [2, 5],
      [2, 3],
      [2, 5],
    ]);
  });

  test("draw a mask for each application of a shared dropout", () => {
    const { randomInputs } = build(
      functional([
        input("x", 4),
        layer("Dropout", "drop", applied(["x"], ["drop"]), { rate: 0.5 }),
        layer("Add", "out", applied(["drop", ["drop", 1]])),
      ]),
      true,
    );
    expect(new Set(randomInputs.map(({ name }) => name)).size).toBe(2);
  });

  test("of many thousand layers are read without exhausting the stack", () => {
    const count = 20_000;
    const layers = Array.from({ length: count }, (_, i) =>
      layer("Activation", `a${i}`, applied([i === 0 ? "x" : `a${i - 1}`]), { activation: "linear" }),
    );
    expect(parseNetwork(functional([input("x", 4), ...layers], `a${count - 1}`)).steps.length).toBe(count);
  });
});

describe("models within models", () => {
  const within = (depth: number, applications: string[][]): ReturnType<typeof functional> => {
    if (depth === 0) return functional([input("x", 4), dense("out", applied(["x"]), { units: 4 })]);
    const inner = { ...within(depth - 1, applications), name: "m", inbound_nodes: applied(...applications) };
    return functional([input("x", 4), inner], ["m", applications.length, 0]);
  };

  test("may lie 32 deep and no deeper", () => {
    expect(build(within(32, [["x"]])).outputs[0]!.value.shape).toEqual([2, 4]);
    expect(() => build(within(33, [["x"]]))).toThrow("models lie within models more than 32 deep");
  });

  test("that are each applied twice are refused before they fill the memory", () => {
    expect(() => build(within(30, [["x"], ["m"]]))).toThrow("layers are applied more than 50000 times");
  });
});

describe("refused functional models", () => {
  const x = input("x", 4);
  const cases: [string, unknown, string][] = [
    [
      "a cycle",
      functional([
        x,
        layer("Add", "a", applied(["x", "b"])),
        dense("b", applied(["a"])),
        dense("out", applied(["b"])),
      ]),
      "layer 'b': it is part of a cycle",
    ],
    [
      "a layer that reads itself",
      functional([x, dense("out", applied(["out"]))]),
      "layer 'out': it is part of a cycle",
    ],
    [
      "a dangling name",
      functional([x, dense("first", applied(["x"])), dense("out", applied(["frist"]))]),
      "layer 'out': there is no layer 'frist'; did you mean 'first'?",
    ],
    [
      "an application that is not there",
      functional([x, dense("a", applied(["x"])), dense("out", applied([["a", 1]]))]),
      "layer 'out': reads application 1 of layer 'a', which has 1",
    ],
    [
      "a second output of a layer",
      functional([x, dense("out", [{ args: [tensor("x", 0, 1)], kwargs: {} }])]),
      "output 1 of layer 'x': there is none: the layer gives 1",
    ],
    [
      "an output that no layer gives",
      functional([x, dense("a", applied(["x"]))]),
      "output_layers: there is no layer 'out'",
    ],
    [
      "an output apart from the input",
      functional([x, dense("a", applied(["x"])), dense("out", [])]),
      "layer 'out': its inbound_nodes are empty",
    ],
    [
      "a layer that leads nowhere",
      functional([x, dense("a", applied(["x"])), dense("out", applied(["x"]))]),
      "layer 'a': it leads to no output",
    ],
    [
      "an application that leads nowhere",
      functional([x, dense("out", applied(["x"], ["x"]))]),
      "layer 'out': it leads to no output",
    ],
    [
      "a mask",
      functional([x, dense("out", [{ args: [tensor("x")], kwargs: { mask: tensor("x") } }])]),
      "layer 'out'.inbound_nodes, argument 'mask'",
    ],
    [
      "a fixed mode in Keras 2",
      functional([x, dense("out", [[["x", 0, 0, { training: true }]]])]),
      "layer 'out'.inbound_nodes, argument 'training': received true",
    ],
    [
      "a constant argument",
      functional([x, dense("out", [{ args: [tensor("x"), 2], kwargs: {} }])]),
      "layer 'out'.inbound_nodes, argument 'args[1]': received 2, expected null",
    ],
    [
      "two tensors for a layer that takes one",
      functional([x, dense("out", applied(["x", "x"]))]),
      "layer 'out'.inbound_nodes: Dense takes one tensor, received 2",
    ],
    [
      "a second input that is not named as one",
      functional([x, input("z", 4), layer("Add", "out", applied(["x", "z"]))]),
      "layer 'z': this InputLayer is not among the input_layers",
    ],
    ["the input as the output", functional([x], "x"), "there is no layer after the input"],
    ["no ends", functional([x, dense("out", applied(["x"]))], 7), "output_layers: received 7"],
    ["two layers of one name", functional([x, x, dense("out", applied(["x"]))]), "two layers have this name"],
    [
      "an option of the model that is not there",
      {
        class_name: "Functional",
        config: { ...functional([x, dense("out", applied(["x"]))]).config, inputs: 1 },
      },
      "architecture.config.inputs: no such option",
    ],
    [
      "a shared layer whose inputs need different weights",
      functional([x, dense("a", applied(["x"], ["a"])), layer("Add", "out", applied(["a", ["a", 1]]))]),
      "weight 'a/kernel': this input needs [3,3], another application of the layer [4,3]",
    ],
    [
      "weights of two layers under one name",
      functional([
        x,
        { ...functional([x, dense("out", applied(["x"]))]), name: "a", inbound_nodes: applied(["x"]) },
        dense("a/out", applied(["x"])),
        layer("Add", "out", applied([["a", 0], "a/out"])),
      ]),
      "weight 'a/out/kernel': two weights have this name",
    ],
    [
      "a nested model fed another shape",
      functional(
        [
          x,
          dense("a", applied(["x"])),
          { ...functional([x, dense("out", applied(["x"]))]), name: "out", inbound_nodes: applied(["a"]) },
        ],
        ["out", 1, 0],
      ),
      "the model takes [batch,4], received [batch,3]",
    ],
  ];
  for (const [title, architecture, message] of cases)
    test(title, () => {
      expect(() => build(architecture)).toThrow(InvalidModelError);
      expect(() => build(architecture)).toThrow(message);
    });
});

describe("merge layers", () => {
  const two = (
    class_name: string,
    shapes: [number[], number[]],
    config: Record<string, unknown> = {},
    inputs = ["left", "right"],
  ) => {
    const reshaped = (name: string, units: number[]) =>
      units.length === 1
        ? [dense(name, applied(["flat"]), { units: units[0] })]
        : [layer("Conv2D", name, applied(["x"]), { filters: units.at(-1), kernel_size: 5 - units[0]! })];
    return functional([
      input("x", 4, 4, 1),
      ...(shapes.some(({ length }) => length === 1) ? [layer("Flatten", "flat", applied(["x"]))] : []),
      ...reshaped("left", shapes[0]),
      ...(inputs.includes("right") ? reshaped("right", shapes[1]) : []),
      layer(class_name, "out", applied(inputs), config),
    ]);
  };
  test.each([
    [
      "Add",
      [
        [3, 3, 2],
        [2, 2, 2],
      ],
      {},
      "shapes [2,3,3,2] and [2,2,2,2] do not fit element by element",
    ],
    ["Multiply", [[3], [4]], {}, "shapes [2,3] and [2,4] do not fit"],
    [
      "Concatenate",
      [
        [3, 3, 2],
        [2, 2, 2],
      ],
      {},
      "cannot be joined along axis 3",
    ],
    ["Concatenate", [[3, 3, 2], [3]], {}, "cannot be joined"],
    ["Concatenate", [[3], [3]], { axis: 0 }, "received 0, expected an axis of [2,3] after the batch"],
    ["Concatenate", [[3], [3]], { axis: 2 }, "received 2, expected an axis"],
    ["Concatenate", [[3], [3]], { axis: "last" }, 'axis: received "last"'],
    ["Dot", [[3], [4]], { axes: 1 }, "different sizes along axes 1 and 1"],
    ["Dot", [[3], [3]], { axes: 0 }, "received 0, expected an axis"],
    ["Dot", [[3], [3]], {}, "axes: received nothing"],
    ["Dot", [[3], [3]], { axes: [1, 1, 1] }, "axes: received [1,1,1]"],
    ["Average", [[3], [3]], { weights: [1, 2] }, "weights: no such option"],
  ] as [string, [number[], number[]], Record<string, unknown>, string][])(
    "%s of %j with %j is refused",
    (name, shapes, config, message) => {
      expect(() => build(two(name, shapes, config))).toThrow(InvalidModelError);
      expect(() => build(two(name, shapes, config))).toThrow(message);
    },
  );

  test("need two tensors, Subtract and Dot no more", () => {
    expect(() => build(two("Add", [[3], [3]], {}, ["left"]))).toThrow("received 1, expected at least 2");
    const three = ["left", "right", "left"];
    expect(() => build(two("Subtract", [[3], [3]], {}, three))).toThrow("received 3, expected 2");
    expect(() => build(two("Dot", [[3], [3]], { axes: 1 }, three))).toThrow("received 3, expected 2");
    expect(build(two("Maximum", [[3], [3]], {}, three)).outputs[0]!.value.shape).toEqual([2, 3]);
  });

  test.each([true, false])("of convolutions need no transposition (training: %s)", (training) => {
    for (const name of ["Add", "Concatenate"]) {
      const { graph } = build(
        two(name, [
          [3, 3, 2],
          [3, 3, 2],
        ]),
        training,
      );
      expect(graph.nodes.filter(({ op }) => op === "Transpose").length).toBe(0);
    }
  });

  test("with a vector of zeros, Dot of unit lengths is nought and not a number divided by nought", async () => {
    const { graph, outputs } = build(two("Dot", [[3], [3]], { axes: 1, normalize: true }));
    graph.output(outputs[0]!.value, "y");
    const zeros = (shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
    const fed = (shape: number[]) => ({ shape, data: normals("x", shape) });
    const { y } = await runOnce(graph, {
      x: fed([2, 4, 4, 1]),
      "left/kernel": zeros([16, 3]),
      "left/bias": zeros([3]),
      "right/kernel": fed([16, 3]),
      "right/bias": fed([3]),
    });
    expect(Array.from(y!.data as Float32Array)).toEqual([0, 0]);
  });
});

describe("frozen layers", () => {
  test("keep their weights out of the trained vector, those of a frozen model too", () => {
    const inner = functional([input("x", 3), dense("out", applied(["x"]))]);
    const frozen = { ...inner, config: { ...inner.config, trainable: false } };
    const plan = planWeights(
      parseNetwork(
        functional([
          input("x", 4),
          dense("still", applied(["x"]), { trainable: false }),
          { ...frozen, name: "block", inbound_nodes: applied(["still"]) },
          dense("out", applied(["block"])),
        ]),
      ),
    );
    const names = (specs: { name: string }[]) => specs.map(({ name }) => name);
    expect(names(plan.trained)).toEqual(["out/kernel", "out/bias"]);
    expect(names(plan.statistics)).toEqual([
      "still/kernel",
      "still/bias",
      "block/out/kernel",
      "block/out/bias",
    ]);
  });
});
