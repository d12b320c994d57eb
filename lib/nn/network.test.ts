/** Declarations: the dialects that are read, what is refused and how, dropout, and kept orders of axes. */

import { normals, runOnce } from "../../test/support/graph-runner.ts";
import { InvalidModelError, UnknownComponentError, UnknownLayerError } from "../errors.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { RandomStream } from "../random/stream.ts";
import { buildNetwork, parseNetwork } from "./network.ts";

type Layer = { class_name: string; config: Record<string, unknown> };

const input = (...sizes: unknown[]): Layer => ({
  class_name: "InputLayer",
  config: { batch_shape: [null, ...sizes], dtype: "float32", name: "image" },
});
const layer = (class_name: string, config: Record<string, unknown> = {}): Layer => ({ class_name, config });
const sequential = (...layers: unknown[]) => ({ class_name: "Sequential", config: { name: "net", layers } });

function build(architecture: unknown, training = false) {
  const graph = new GraphBuilder("net");
  const network = parseNetwork(architecture);
  const x = graph.input("x", "FP32", [2, ...network.inputs[0]!.shape]);
  const built = buildNetwork(network, graph, [x], {
    training,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  return { graph, network, x, ...built };
}

describe("dialects", () => {
  const names = (architecture: unknown) => {
    const { network, weights, outputs } = build(architecture);
    return {
      inputs: network.inputs,
      layers: network.layers.map(({ name, className }) => `${className} ${name}`),
      weights: weights.map(({ name, shape }) => `${name} [${shape}]`),
      output: outputs[0]!.value.shape,
    };
  };
  const expected = {
    inputs: [{ name: "input", shape: [6, 6, 1], datatype: "FP32" }],
    layers: ["Conv2D conv2d", "BatchNormalization batch_normalization", "Flatten flatten", "Dense dense"],
    weights: [
      "conv2d/kernel [2,1,3,3]",
      "conv2d/bias [2]",
      "batch_normalization/gamma [2]",
      "batch_normalization/beta [2]",
      "batch_normalization/moving_mean [2]",
      "batch_normalization/moving_variance [2]",
      "dense/kernel [32,3]",
      "dense/bias [3]",
    ],
    output: [2, 3],
  };

  test("Keras 2: batch_input_shape on the first layer, plain names, the axis as a list", () => {
    const zeros = { class_name: "Zeros", config: {} };
    expect(
      names({
        class_name: "Sequential",
        config: {
          name: "sequential",
          layers: [
            layer("Conv2D", {
              name: "conv2d",
              trainable: true,
              batch_input_shape: [null, 6, 6, 1],
              dtype: "float32",
              filters: 2,
              kernel_size: [3, 3],
              strides: [1, 1],
              padding: "valid",
              data_format: "channels_last",
              dilation_rate: [1, 1],
              groups: 1,
              activation: "relu",
              use_bias: true,
              kernel_initializer: { class_name: "GlorotUniform", config: { seed: null } },
              bias_initializer: zeros,
              kernel_regularizer: null,
              bias_regularizer: null,
              activity_regularizer: null,
              kernel_constraint: null,
              bias_constraint: null,
            }),
            layer("BatchNormalization", {
              name: "batch_normalization",
              trainable: true,
              dtype: "float32",
              axis: [3],
              momentum: 0.99,
              epsilon: 0.001,
              center: true,
              scale: true,
              beta_initializer: zeros,
              gamma_initializer: { class_name: "Ones", config: {} },
              moving_mean_initializer: zeros,
              moving_variance_initializer: { class_name: "Ones", config: {} },
              beta_regularizer: null,
              gamma_regularizer: null,
              beta_constraint: null,
              gamma_constraint: null,
            }),
            layer("Flatten", {
              name: "flatten",
              trainable: true,
              dtype: "float32",
              data_format: "channels_last",
            }),
            layer("Dense", {
              name: "dense",
              trainable: true,
              dtype: "float32",
              units: 3,
              activation: "softmax",
              use_bias: true,
              kernel_initializer: { class_name: "GlorotUniform", config: { seed: null } },
              bias_initializer: zeros,
              kernel_regularizer: null,
              bias_regularizer: null,
              activity_regularizer: null,
              kernel_constraint: null,
              bias_constraint: null,
            }),
          ],
        },
        keras_version: "2.15.0",
        backend: "tensorflow",
      }),
    ).toEqual(expected);
  });

  test("TensorFlow.js: camel case throughout", () => {
    expect(
      names({
        className: "Sequential",
        config: {
          name: "sequential_1",
          layers: [
            {
              className: "Conv2D",
              config: {
                name: "conv2d",
                batchInputShape: [null, 6, 6, 1],
                dtype: "float32",
                trainable: true,
                filters: 2,
                kernelSize: [3, 3],
                strides: [1, 1],
                padding: "valid",
                dataFormat: "channelsLast",
                dilationRate: [1, 1],
                activation: "relu",
                useBias: true,
                kernelInitializer: {
                  className: "VarianceScaling",
                  config: { scale: 1, mode: "fanAvg", distribution: "normal", seed: null },
                },
                biasInitializer: { className: "Zeros", config: {} },
                kernelRegularizer: null,
                biasRegularizer: null,
                activityRegularizer: null,
                kernelConstraint: null,
                biasConstraint: null,
              },
            },
            {
              className: "BatchNormalization",
              config: { name: "batch_normalization", axis: -1, momentum: 0.99 },
            },
            { className: "Flatten", config: { name: "flatten", trainable: true } },
            { className: "Dense", config: { name: "dense", units: 3, activation: "softmax" } },
          ],
        },
      }),
    ).toEqual(expected);
  });

  test("TensorFlow.js's toJSON: snake case with its own spellings", () => {
    const initializer = {
      class_name: "VarianceScaling",
      config: { scale: 1, mode: "fan_avg", distribution: "uniform", seed: null },
    };
    expect(
      names(
        sequential(
          layer("Conv2D", {
            filters: 2,
            kernel_initializer: initializer,
            kernel_size: [3, 3],
            data_format: "channels_last",
            name: "conv2d",
            trainable: true,
            batch_input_shape: [null, 6, 6, 1],
            dtype: "float32",
          }),
          layer("BatchNormalization"),
          layer("Flatten"),
          layer("Dense", { units: 3 }),
        ),
      ),
    ).toEqual(expected);
  });

  test("layers without names are named after their class, and counted", () => {
    const { network } = build(
      sequential(input(4), layer("Dense", { units: 2 }), layer("Dense", { units: 2 })),
    );
    expect(network.layers.map(({ name }) => name)).toEqual(["dense", "dense_1"]);
  });
});

describe("refused declarations", () => {
  const nestedLists = (depth: number) => {
    let lists: unknown = 1;
    for (let i = 0; i < depth; i++) lists = [lists];
    return lists;
  };
  const typed = (dtype: string) =>
    sequential({ class_name: "InputLayer", config: { batch_shape: [null, 4], dtype } }, layer("Flatten"));
  const dense = (config: Record<string, unknown>) =>
    sequential(input(4), layer("Dense", { units: 2, ...config }));
  const conv = (config: Record<string, unknown>) =>
    sequential(input(6, 6, 2), layer("Conv2D", { filters: 2, kernel_size: 3, ...config }));
  const alone = (name: string, config: Record<string, unknown>) =>
    sequential(input(6, 6, 2), layer(name, config));

  const cases: [string, unknown, new (...args: never[]) => Error, string][] = [
    ["an unknown layer, naming the nearest", alone("Dence", {}), UnknownLayerError, "did you mean 'Dense'?"],
    [
      "a layer near nothing",
      alone("Transformer", {}),
      UnknownLayerError,
      "Unknown layer 'Transformer' Known:",
    ],
    [
      "a member of Object as layer",
      alone("constructor", {}),
      UnknownLayerError,
      "Unknown layer 'constructor'",
    ],
    [
      "an unknown option, naming the nearest",
      dense({ unit: 3 }),
      InvalidModelError,
      "layer 'dense'.unit: no such option; did you mean 'units'?",
    ],
    [
      "groups that do not divide the filters",
      conv({ filters: 3, groups: 2 }),
      InvalidModelError,
      "layer 'conv2d'.groups: received 2, expected a divisor of the 3 filters",
    ],
    [
      "half precision",
      dense({ dtype: "float16" }),
      InvalidModelError,
      'dtype: received "float16", expected float32',
    ],
    [
      "a mixed precision policy",
      dense({ dtype: { module: "keras", class_name: "DTypePolicy", config: { name: "mixed_float16" } } }),
      InvalidModelError,
      "mixed_float16",
    ],
    [
      "two layers with one name",
      sequential(input(4), layer("Dense", { units: 2, name: "a" }), layer("Dense", { units: 2, name: "a" })),
      InvalidModelError,
      "layer 'a': two layers have this name",
    ],
    [
      "no input shape",
      sequential(layer("Dense", { units: 2 })),
      InvalidModelError,
      "must state its input as batch_shape",
    ],
    [
      "an open input size",
      sequential(input(null, 4), layer("Dense", { units: 2 })),
      InvalidModelError,
      "every size but the batch must be known",
    ],
    [
      "a size of zero",
      sequential(input(0), layer("Dense", { units: 2 })),
      InvalidModelError,
      "received [null,0]",
    ],
    ["no layers", sequential(), InvalidModelError, "expected a non-empty list of layers"],
    ["nothing after the input", sequential(input(4)), InvalidModelError, "there is no layer after the input"],
    [
      "a model class of one's own",
      { class_name: "Functionnal", config: {} },
      UnknownComponentError,
      "Unknown model class 'Functionnal'; did you mean 'Functional'?",
    ],
    ["a list", [], InvalidModelError, "architecture: received []"],
    ["nothing", null, InvalidModelError, "architecture: received null"],
    [
      "a layer that is a number",
      sequential(input(4), 7),
      InvalidModelError,
      "architecture.config.layers[1]: received 7",
    ],
    [
      "a config that is a list",
      alone("Flatten", [] as never),
      InvalidModelError,
      "its config is [], expected an object",
    ],
    [
      "no units",
      sequential(input(4), layer("Dense", {})),
      InvalidModelError,
      "units: received nothing, expected an integer of at least 1",
    ],
    [
      "lists within lists without end",
      dense({ units: nestedLists(30_000) }),
      InvalidModelError,
      "units: received a list beyond measure, expected an integer",
    ],
    [
      "means within lists without end",
      sequential(input(4), layer("Normalization", { mean: nestedLists(30_000), variance: [1] })),
      InvalidModelError,
      "mean: received a list beyond measure, expected lists of at most 8 axes",
    ],
    [
      "a member of Object as dtype of an input",
      typed("constructor"),
      InvalidModelError,
      'received "constructor"',
    ],
    ["another dtype of an input", typed("float64"), InvalidModelError, 'received "float64", expected one of'],
    ["half a unit", dense({ units: 0.5 }), InvalidModelError, "units: received 0.5"],
    [
      "a kernel of three sizes",
      conv({ kernel_size: [1, 2, 3] }),
      InvalidModelError,
      "kernel_size: received [1,2,3], expected one or two positive integers",
    ],
    [
      "causal padding",
      conv({ padding: "causal" }),
      InvalidModelError,
      'padding: received "causal", expected one of valid, same',
    ],
    [
      "an unknown activation, naming the nearest",
      dense({ activation: "rleu" }),
      UnknownComponentError,
      "Unknown activation 'rleu'; did you mean 'relu'?",
    ],
    [
      "an unknown option of an activation",
      dense({ activation: { class_name: "ReLU", config: { max_valeu: 6 } } }),
      InvalidModelError,
      "activation.max_valeu: no such option; did you mean 'max_value'?",
    ],
    [
      "an activation layer that has weights as an activation",
      dense({ activation: { class_name: "PReLU", config: {} } }),
      UnknownComponentError,
      "Unknown activation 'PReLU'",
    ],
    [
      "an activation layer of another precision",
      dense({
        activation: {
          class_name: "ReLU",
          config: { dtype: { class_name: "DTypePolicy", config: { name: "float16" } } },
        },
      }),
      InvalidModelError,
      'received "float16", expected float32',
    ],
    [
      "a negative slope",
      sequential(input(4), layer("LeakyReLU", { negative_slope: -0.1 })),
      InvalidModelError,
      "negative_slope",
    ],
    ...(
      [
        ["without its mean", { variance: 1 }, "mean: received nothing, expected a number"],
        ["with words", { mean: ["a"], variance: [1] }, "mean: received"],
        ["with lists of unequal lengths", { mean: [[1, 2], [3]], variance: [[1, 2], [3]] }, "mean: received"],
        ["with fewer variances", { mean: [1, 2], variance: [1] }, "numbers of the shape of mean, [2]"],
        ["with more axes than it has", { mean: [[1]], variance: [[1]] }, "at most 1 axes"],
        ["with a negative variance", { mean: 1, variance: -1 }, "no negative number"],
      ] as const
    ).map(([what, config, message]): [string, unknown, typeof InvalidModelError, string] => [
      `a normalisation ${what}`,
      sequential(input(4), layer("Normalization", config)),
      InvalidModelError,
      message,
    ]),
    [
      "layer normalisation over axes counted from both ends",
      sequential(input(3, 4), layer("LayerNormalization", { axis: [-1, 1] })),
      InvalidModelError,
      "axes counted from the same end",
    ],
    [
      "layer normalisation over no axis",
      sequential(input(3, 4), layer("LayerNormalization", { axis: [] })),
      InvalidModelError,
      "at least one axis",
    ],
    [
      "the scaling by variance that Keras took back",
      sequential(input(3, 4), layer("LayerNormalization", { rms_scaling: true })),
      InvalidModelError,
      "rms_scaling",
    ],
    [
      "a penalty on what attention projects inside",
      sequential(
        input(3, 4),
        layer("MultiHeadAttention", { num_heads: 1, key_dim: 2, activity_regularizer: "l2" }),
      ),
      InvalidModelError,
      "activity_regularizer",
    ],
    [
      "no groups",
      sequential(input(3, 4), layer("GroupNormalization", { groups: 0 })),
      InvalidModelError,
      "groups: received 0, expected an integer of at least 1",
    ],
    [
      "an unknown initialiser",
      dense({ kernel_initializer: "GlorotUnifrom" }),
      UnknownComponentError,
      "did you mean 'GlorotUniform'?",
    ],
    [
      "an unknown option of an initialiser",
      dense({ kernel_initializer: { class_name: "Zeros", config: { gain: 1 } } }),
      InvalidModelError,
      "kernel_initializer.gain: no such option",
    ],
    ["everything dropped", alone("Dropout", { rate: 1 }), InvalidModelError, "rate: received 1"],
    ["a noise shape", alone("Dropout", { rate: 0.5, noise_shape: [2, 1] }), InvalidModelError, "noise_shape"],
    [
      "virtual batches",
      alone("BatchNormalization", { virtual_batch_size: 8 }),
      InvalidModelError,
      "virtual_batch_size",
    ],
    [
      "two axes",
      alone("BatchNormalization", { axis: [1, 2] }),
      InvalidModelError,
      "axis: received [1,2], expected one axis",
    ],
  ];
  for (const [title, architecture, type, message] of cases)
    test(title, () => {
      expect(() => parseNetwork(architecture)).toThrow(type);
      expect(() => parseNetwork(architecture)).toThrow(message);
    });

  const unfit: [string, unknown, string][] = [
    [
      "a convolution of vectors",
      sequential(input(4), layer("Conv2D", { filters: 1, kernel_size: 1 })),
      "needs [batch, height, width, channels], received rank 2",
    ],
    ["pooling of vectors", sequential(input(4), layer("MaxPooling2D")), "received rank 2"],
    [
      "a kernel larger than the image",
      sequential(input(2, 2, 1), layer("Conv2D", { filters: 1, kernel_size: 3 })),
      "window of 3 does not fit size 2",
    ],
    [
      "pooling down to nothing",
      sequential(input(3, 3, 1), layer("MaxPooling2D"), layer("MaxPooling2D")),
      "layer 'max_pooling2d_1' (MaxPooling2D)",
    ],
    [
      "normalisation along the batch",
      sequential(input(3), layer("BatchNormalization", { axis: 0 })),
      "received 0, the batch",
    ],
    [
      "a softmax over the examples",
      sequential(input(4), layer("Softmax", { axis: 0 })),
      "received 0, expected an axis of [2,4] after the batch",
    ],
    [
      "shared axes that the input does not have",
      sequential(input(4), layer("PReLU", { shared_axes: [2] })),
      "received 2, expected 1 to 1",
    ],
    ["normalisation along no axis", sequential(input(3), layer("BatchNormalization", { axis: 5 })), "axis 5"],
    [
      "layer normalisation over the examples",
      sequential(input(3, 4), layer("LayerNormalization", { axis: [0, 2] })),
      "received [0,2], expected axes of [2,3,4] after the batch",
    ],
    [
      "layer normalisation over an axis twice",
      sequential(input(3, 4), layer("LayerNormalization", { axis: [2, 2] })),
      "received [2,2]",
    ],
    [
      "a penalty on what a layer gives step by step, which Keras drops",
      sequential(
        input(3, 4),
        layer("TimeDistributed", { layer: layer("Dense", { units: 2, activity_regularizer: "l2" }) }),
      ),
      "has an activity_regularizer, which Keras leaves out of the loss here",
    ],
    [
      "groups that do not divide the channels",
      sequential(input(3, 4), layer("GroupNormalization", { groups: 3 })),
      "received 3, expected a divisor of the 4 channels",
    ],
    [
      "a root mean square of an inner axis",
      sequential(input(3, 4), layer("RMSNormalization", { axis: 1 })),
      "expected the last axes",
    ],
    [
      "means that are not as many as the input's",
      sequential(input(3, 4), layer("Normalization", { mean: [1, 2], variance: [1, 1] })),
      "has 2 numbers along axis 2, expected 4",
    ],
  ];
  for (const [title, architecture, message] of unfit)
    test(title, () => {
      expect(() => build(architecture)).toThrow(InvalidModelError);
      expect(() => build(architecture)).toThrow(message);
    });
});

describe("dropout", () => {
  const architecture = sequential(input(50, 40), layer("Dropout", { rate: 0.3, seed: 7 }));

  test("is the identity outside training, and for a rate of nought in training", () => {
    const evaluated = build(architecture);
    expect(evaluated.outputs[0]!.value).toBe(evaluated.x);
    const harmless = build(sequential(input(4), layer("Dropout", { rate: 0 })), true);
    expect(harmless.outputs[0]!.value).toBe(harmless.x);
    expect(harmless.randomInputs).toEqual([]);
  });

  test("scales what its mask keeps by 1/(1 - rate) and drops the rest", async () => {
    const { graph, outputs, randomInputs } = build(architecture, true);
    expect(randomInputs).toEqual([{ name: "dropout/keep", kind: "keep", rate: 0.3, shape: [2, 50, 40] }]);
    graph.output(outputs[0]!.value, "y");
    const random = RandomStream.named(1, "mask");
    const mask = Uint8Array.from({ length: 4000 }, () => (random.uniform() < 0.7 ? 1 : 0));
    const x = normals("x", [2, 50, 40]);
    const found = await runOnce(graph, {
      x: { shape: [2, 50, 40], data: x },
      "dropout/keep": { shape: [2, 50, 40], data: mask, datatype: "BOOL" },
    });
    const worst = x.reduce(
      (most, v, i) => Math.max(most, Math.abs(Number(found.y!.data[i]) - (mask[i] ? v / 0.7 : 0))),
      0,
    );
    expect(worst).toBeLessThan(1e-6);
  });

  test("is not built into a training graph whose batch varies", () => {
    const graph = new GraphBuilder("net");
    const x = graph.input("x", "FP32", ["batch", 50, 40]);
    expect(() =>
      buildNetwork(parseNetwork(architecture), graph, [x], { training: true, weightValue: () => x }),
    ).toThrow("a training graph needs a fixed batch");
  });
});

describe("the order of axes in memory", () => {
  const transposes = (architecture: unknown) =>
    build(architecture).graph.nodes.filter(({ op }) => op === "Transpose").length;
  const conv = layer("Conv2D", { filters: 2, kernel_size: 3 });

  test("one channel needs no transposition, more need one, and a chain of image layers no further one", () => {
    const chain = [
      conv,
      layer("BatchNormalization"),
      layer("MaxPooling2D"),
      layer("Dropout", { rate: 0.1 }),
      conv,
    ];
    expect(transposes(sequential(input(12, 12, 1), ...chain))).toBe(0);
    expect(transposes(sequential(input(12, 12, 3), ...chain))).toBe(1);
    expect(transposes(sequential(input(12, 12, 3), ...chain, layer("Flatten")))).toBe(2);
  });

  test("weights are named after their layers and know whether they are trained", () => {
    const { weights, updates } = build(
      sequential(
        input(5, 5, 1),
        { ...conv, config: { ...conv.config, name: "c" } },
        layer("BatchNormalization"),
      ),
      true,
    );
    expect(weights.filter(({ trainable }) => !trainable).map(({ name }) => name)).toEqual([
      ...updates.keys(),
    ]);
    expect(weights[0]).toMatchObject({ name: "c/kernel", fans: { fanIn: 9, fanOut: 18 }, trainable: true });
  });
});
