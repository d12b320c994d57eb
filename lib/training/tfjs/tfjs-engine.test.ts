/**
 * The two engines are witnesses of one another: the same network, seed and data, step by step, agree to what float32
 * keeps, for every layer, loss and optimiser that the engine "tfjs" has; and it goes on from a snapshot to the bit.
 */

import { labelled } from "../../../test/support/labelled.ts";
import { type Column, type Examples, memoryColumn, rowRange } from "../../data/examples.ts";
import { parseNetwork } from "../../nn/network.ts";
import { optimizerOf } from "../../optim/table.ts";
import type { LossSpec, TrainingSpec } from "../../protocol/jobs.ts";
import { RandomStream } from "../../random/stream.ts";
import { objectiveOf } from "../read-objective.ts";
import type { StepEngine } from "../step-engine.ts";
import { planWeights } from "../step-graph.ts";
import { StepRunner } from "../step-runner.ts";
import { TFJS_LAYERS } from "./layers.ts";
import { loadTfjs } from "./load-tfjs.ts";
import { prepareTfjs } from "./prepare-tfjs.ts";
import { readForTfjs } from "./read-for-tfjs.ts";

type Layer = [string, Record<string, unknown>];
type Given = Pick<TrainingSpec, "architecture"> &
  Partial<Pick<TrainingSpec, "loss" | "lossWeights" | "classWeights" | "optimizer" | "seed">>;

const sequential = (shape: number[], ...layers: Layer[]) => ({
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      { class_name: "InputLayer", config: { batch_shape: [null, ...shape], name: "x" } },
      ...layers.map(([class_name, config], i) => ({ class_name, config: { name: `layer${i}`, ...config } })),
    ],
  },
});

function normals(name: string, size: number): Float32Array {
  const values = new Float32Array(size);
  RandomStream.named(7, name).fillNormal(values);
  return values;
}

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Labelled noise. */
function noise(count: number, shape: number[], classes = 3): Examples {
  const random = RandomStream.named(4, "labels");
  const labels = Uint8Array.from({ length: count }, () => random.below(classes));
  return labelled(shape, "FP32", normals("x", count * size(shape)), labels);
}

/** Noise to be compared with noise of another shape. */
function values(count: number, shape: number[], target: number[], positive = false): Examples {
  const column = (name: string, of: number[]): Column => {
    const data = normals(name, count * size(of));
    const kept = positive && name === "y" ? data.map((v) => Math.abs(v) / 4) : data;
    return memoryColumn({ name, shape: of, datatype: "FP32" as const }, kept);
  };
  return { count, inputs: [column("x", shape)], targets: [column("y", target)] };
}

const PARTS: Omit<Required<Given>, "architecture" | "lossWeights" | "classWeights"> = {
  loss: "sparse_categorical_crossentropy",
  optimizer: { class_name: "SGD", config: { learning_rate: 0.1 } },
  seed: 3,
};

async function engines(
  given: Given,
  examples: Examples,
  batchSize = 256,
): Promise<{ onnx: StepEngine; tfjs: StepEngine }> {
  const spec = { ...PARTS, ...given };
  const network = parseNetwork(spec.architecture);
  const options = {
    network,
    objective: objectiveOf(spec, network, planWeights(network)),
    optimizer: optimizerOf(spec.optimizer),
    seed: spec.seed,
    batchSize,
    threads: 1,
  };
  const { engine } = await prepareTfjs(spec);
  return { onnx: new StepRunner(options, examples), tfjs: engine(options, examples) };
}

function expectClose(received: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number) {
  expect(received.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++)
    worst = Math.max(worst, Math.abs(received[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!)));
  expect(worst).toBeLessThan(tolerance);
}

const TOLERANCE = 2e-5;

/** Both engines, as many steps; everything they report is compared after each. */
async function agree(given: Given, examples: Examples, steps = 3, tolerance = TOLERANCE) {
  const { onnx, tfjs } = await engines(given, examples);
  try {
    const batch = Math.floor(examples.count / steps);
    for (let step = 0; step < steps; step++) {
      const rows = rowRange(step * batch, (step + 1) * batch);
      const [expected, received] = [await onnx.trainBatch(rows), await tfjs.trainBatch(rows)];
      expectClose([received.loss], [expected.loss], tolerance);
      expectClose(received.measures, expected.measures, tolerance);
      const [before, after] = [onnx.state(), tfjs.state()];
      expect(after.step).toBe(before.step);
      expectClose(after.weights, before.weights, tolerance);
      expectClose(after.statistics, before.statistics, tolerance);
    }
    const rows = rowRange(0, examples.count);
    const [expected, received] = [await onnx.evaluate(rows), await tfjs.evaluate(rows)];
    expect(Object.keys(received)).toEqual(Object.keys(expected));
    expectClose([received.loss], [expected.loss], tolerance);
    expect(received.accuracy).toBe(expected.accuracy);
  } finally {
    await Promise.all([onnx.close(), tfjs.close()]);
  }
}

const SOFTMAX: Layer = ["Dense", { units: 3, activation: "softmax" }];
const CONV_NET: Layer[] = [
  ["Rescaling", { scale: 0.5, offset: 0.1 }],
  ["Conv2D", { filters: 4, kernel_size: 3, activation: "relu" }],
  ["BatchNormalization", { momentum: 0.8 }],
  ["MaxPooling2D", {}],
  ["Flatten", {}],
  SOFTMAX,
];
const ADAM = { class_name: "Adam", config: { learning_rate: 0.01 } };

describe("step by step, as ONNX Runtime", () => {
  test.each<[string, TrainingSpec["optimizer"]]>([
    ["SGD", PARTS.optimizer],
    ["Adam", ADAM],
  ])("a convolutional network with %s", (_, optimizer) =>
    agree({ architecture: sequential([8, 8, 2], ...CONV_NET), optimizer }, noise(40, [8, 8, 2]), 5),
  );

  test.each<[string, Record<string, unknown>]>([
    ["SGD", { momentum: 0.9 }],
    ["SGD", { momentum: 0.9, nesterov: true }],
    [
      "SGD",
      {
        learning_rate: {
          class_name: "ExponentialDecay",
          config: { initial_learning_rate: 0.1, decay_steps: 2, decay_rate: 0.5 },
        },
        momentum: 0.5,
      },
    ],
    ["Adam", { beta_1: 0.8, epsilon: 1e-3 }],
    ["Adamax", {}],
    ["Adagrad", { initial_accumulator_value: 0.2 }],
    ["RMSprop", { momentum: 0.5 }],
  ])("a dense network with dropout and %s %j", (class_name, config) => {
    const optimizer = { class_name, config: { learning_rate: 0.02, ...config } };
    const hidden: Layer[] = [
      ["Dense", { units: 8, activation: "tanh" }],
      ["Dropout", { rate: 0.3 }],
      SOFTMAX,
    ];
    return agree({ architecture: sequential([6], ...hidden), optimizer }, noise(50, [6]), 5);
  });

  test.each<[string, TrainingSpec["optimizer"]]>([
    ["SGD", PARTS.optimizer],
    ["Adam", ADAM],
  ])("a functional network with a shared layer and two outputs, with %s", (_, optimizer) => {
    const tensor = (name: string, application = 0) => ({
      class_name: "__keras_tensor__",
      config: { shape: [null, 4], dtype: "float32", keras_history: [name, application, 0] },
    });
    const layer = (class_name: string, name: string, config: object, ...calls: unknown[]) => ({
      class_name,
      name,
      config: { name, ...config },
      inbound_nodes: calls.map((argument) => ({ args: [argument], kwargs: {} })),
    });
    const input = (name: string) => layer("InputLayer", name, { batch_shape: [null, 4] });
    const architecture = {
      class_name: "Functional",
      config: {
        name: "net",
        layers: [
          input("a"),
          input("b"),
          layer("Dense", "shared", { units: 5, activation: "relu" }, tensor("a"), tensor("b")),
          layer("Concatenate", "both", { axis: -1 }, [tensor("shared"), tensor("shared", 1)]),
          layer("Dense", "kind", { units: 3, activation: "softmax" }, tensor("both")),
          layer("Dense", "amount", { units: 2 }, tensor("both")),
        ],
        input_layers: [
          ["a", 0, 0],
          ["b", 0, 0],
        ],
        output_layers: [
          ["kind", 0, 0],
          ["amount", 0, 0],
        ],
      },
    };
    const { count, targets } = noise(40, [4]);
    const column = (name: string, shape: number[]) =>
      memoryColumn({ name, shape, datatype: "FP32" as const }, normals(name, count * size(shape)));
    const weights = memoryColumn(
      { name: "weights", shape: [], datatype: "FP32" as const },
      normals("weights", count).map(Math.abs),
    );
    const examples: Examples = {
      count,
      inputs: [column("a", [4]), column("b", [4])],
      targets: [{ ...targets[0]!, name: "kind" }, column("amount", [2])],
      weights,
    };
    const loss = { kind: "sparse_categorical_crossentropy", amount: "mse" };
    return agree({ architecture, optimizer, loss, lossWeights: { kind: 1, amount: 0.3 } }, examples, 5);
  });

  test("counts classes by their weights in training", () =>
    agree({ architecture: sequential([6], SOFTMAX), classWeights: { 0: 3, 2: 0.5 } }, noise(30, [6])));
});

/** One case at least for each layer, between others that make it a classifier. */
const LAYER_CASES: Record<string, [number[], ...Layer[]][]> = {
  Activation: [[[6], ["Dense", { units: 4 }], ["Activation", { activation: "softsign" }]]],
  Add: [],
  Average: [],
  AveragePooling1D: [
    [
      [8, 2],
      ["Dense", { units: 3 }],
      ["AveragePooling1D", { pool_size: 2 }],
    ],
  ],
  AveragePooling2D: [
    [
      [6, 6, 2],
      ["Conv2D", { filters: 3, kernel_size: 2 }],
      ["AveragePooling2D", { pool_size: [2, 3] }],
    ],
  ],
  BatchNormalization: [
    [[6], ["Dense", { units: 4 }], ["BatchNormalization", { epsilon: 0.01 }]],
    [[6], ["Dense", { units: 4 }], ["BatchNormalization", { trainable: false }]],
  ],
  Concatenate: [],
  Conv1D: [
    [
      [9, 3],
      ["Conv1D", { filters: 4, kernel_size: 3, strides: 2, padding: "same" }],
    ],
    [
      [9, 3],
      ["Conv1D", { filters: 4, kernel_size: 2, dilation_rate: 1, use_bias: false }],
    ],
  ],
  Conv2D: [
    [
      [7, 6, 2],
      ["Conv2D", { filters: 3, kernel_size: [3, 2], strides: 2, padding: "same", activation: "elu" }],
    ],
    [
      [7, 7, 2],
      ["Conv2D", { filters: 3, kernel_size: 2, dilation_rate: 1, use_bias: false }],
    ],
  ],
  Dense: [
    [
      [5, 4],
      ["Dense", { units: 3, activation: "silu" }],
    ],
  ],
  DepthwiseConv2D: [
    [
      [6, 6, 2],
      ["DepthwiseConv2D", { kernel_size: 3, depth_multiplier: 2, activation: "relu" }],
    ],
    [
      [6, 6, 2],
      ["DepthwiseConv2D", { kernel_size: 2, strides: 2, padding: "same", use_bias: false }],
    ],
  ],
  Dropout: [[[6], ["Dense", { units: 4 }], ["Dropout", { rate: 0.5 }]]],
  Embedding: [],
  Flatten: [
    [
      [3, 4],
      ["Flatten", {}],
    ],
  ],
  GlobalAveragePooling1D: [
    [
      [8, 2],
      ["Dense", { units: 3 }],
      ["GlobalAveragePooling1D", {}],
    ],
  ],
  GlobalAveragePooling2D: [
    [
      [5, 5, 2],
      ["Conv2D", { filters: 3, kernel_size: 2 }],
      ["GlobalAveragePooling2D", {}],
    ],
  ],
  GlobalMaxPooling1D: [
    [
      [8, 2],
      ["Dense", { units: 3 }],
      ["GlobalMaxPooling1D", {}],
    ],
  ],
  GlobalMaxPooling2D: [
    [
      [5, 5, 2],
      ["Conv2D", { filters: 3, kernel_size: 2 }],
      ["GlobalMaxPooling2D", {}],
    ],
  ],
  LayerNormalization: [[[6], ["Dense", { units: 4 }], ["LayerNormalization", { epsilon: 0.01 }]]],
  LSTM: [
    [
      [5, 3],
      ["LSTM", { units: 4 }],
    ],
    [
      [5, 3],
      ["LSTM", { units: 3, return_sequences: true, go_backwards: true, activation: "relu", use_bias: false }],
    ],
  ],
  MaxPooling1D: [
    [
      [8, 2],
      ["Dense", { units: 3 }],
      ["MaxPooling1D", { pool_size: 3, strides: 2 }],
    ],
  ],
  MaxPooling2D: [
    [
      [7, 7, 2],
      ["Conv2D", { filters: 3, kernel_size: 2 }],
      ["MaxPooling2D", { pool_size: 3, strides: 2, padding: "same" }],
    ],
  ],
  Maximum: [],
  Minimum: [],
  Multiply: [],
  Permute: [
    [
      [3, 4],
      ["Dense", { units: 3 }],
      ["Permute", { dims: [2, 1] }],
    ],
  ],
  ReLU: [[[6], ["Dense", { units: 4 }], ["ReLU", { max_value: 1 }]]],
  RepeatVector: [[[4], ["Dense", { units: 3 }], ["RepeatVector", { n: 2 }]]],
  Rescaling: [[[4], ["Rescaling", { scale: 2, offset: -1 }]]],
  Reshape: [[[12], ["Dense", { units: 6 }], ["Reshape", { target_shape: [2, 3] }]]],
  SeparableConv2D: [
    [
      [6, 6, 2],
      ["SeparableConv2D", { filters: 3, kernel_size: 2, depth_multiplier: 2, activation: "relu" }],
    ],
    [
      [6, 6, 2],
      ["SeparableConv2D", { filters: 2, kernel_size: 3, strides: 2, padding: "same", use_bias: false }],
    ],
  ],
  SimpleRNN: [
    [
      [5, 3],
      ["SimpleRNN", { units: 4, return_sequences: true }],
      ["SimpleRNN", { units: 3 }],
    ],
  ],
  ZeroPadding2D: [
    [
      [3, 3, 2],
      ["Conv2D", { filters: 2, kernel_size: 2 }],
      [
        "ZeroPadding2D",
        {
          padding: [
            [1, 0],
            [2, 1],
          ],
        },
      ],
    ],
  ],
};

describe("every layer", () => {
  test("has a case", () => {
    expect(Object.keys(LAYER_CASES).toSorted()).toEqual(Object.keys(TFJS_LAYERS).toSorted());
  });

  const cases = Object.entries(LAYER_CASES).flatMap(([name, each]) =>
    each.map(([shape, ...layers]) => [name, shape, layers] as const),
  );
  test.each(cases)("%s computes as on ONNX Runtime: %j %j", (_, shape, layers) =>
    agree(
      { architecture: sequential([...shape], ...layers, ["Flatten", {}], SOFTMAX) },
      noise(24, [...shape]),
    ),
  );

  test("Embedding computes as on ONNX Runtime", () => {
    const architecture = sequential(
      [6],
      ["Embedding", { input_dim: 9, output_dim: 3 }],
      ["LSTM", { units: 4 }],
      SOFTMAX,
    );
    Object.assign(architecture.config.layers[0]!.config, { dtype: "int32" });
    const { count, targets } = noise(24, [6]);
    const random = RandomStream.named(2, "tokens");
    const tokens = Int32Array.from({ length: count * 6 }, () => random.below(9));
    const inputs = [memoryColumn({ name: "x", shape: [6], datatype: "INT32" as const }, tokens)];
    return agree({ architecture }, { count, inputs, targets });
  });

  const merges = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply"];
  test.each(merges)("%s computes as on ONNX Runtime", (className) => {
    const node = (...names: string[]) => [names.map((name) => [name, 0, 0, {}])];
    const layer = (class_name: string, name: string, config: object, inbound_nodes: unknown[] = []) => ({
      class_name,
      name,
      config: { name, ...config },
      inbound_nodes,
    });
    const architecture = {
      class_name: "Functional",
      config: {
        name: "net",
        layers: [
          layer("InputLayer", "x", { batch_input_shape: [null, 5] }),
          layer("Dense", "one", { units: 4, activation: "tanh" }, node("x")),
          layer("Dense", "two", { units: 4, activation: "sigmoid" }, node("x")),
          layer(className, "merged", {}, node("one", "two")),
          layer("Dense", "y", { units: 3, activation: "softmax" }, node("merged")),
        ],
        input_layers: [["x", 0, 0]],
        output_layers: [["y", 0, 0]],
      },
    };
    return agree({ architecture }, noise(24, [5]));
  });
});

describe("every loss", () => {
  const keras = (class_name: string, config: object): LossSpec => ({ class_name, config: { ...config } });
  test.each<[string, LossSpec, string]>([
    ["softmax", "sparse_categorical_crossentropy", "softmax"],
    ["logits", keras("SparseCategoricalCrossentropy", { from_logits: true }), "linear"],
    ["shares", "categorical_crossentropy", "sigmoid"],
    ["smoothing", keras("CategoricalCrossentropy", { label_smoothing: 0.1 }), "softmax"],
    ["several binary outputs", "binary_crossentropy", "sigmoid"],
    ["hinge of classes", "categorical_hinge", "linear"],
    ["squares of one-hot classes", "mse", "softmax"],
  ])("of classes: %s, %j", (_, loss, activation) =>
    agree({ architecture: sequential([6], ["Dense", { units: 3, activation }]), loss }, noise(24, [6])),
  );

  test.each<[LossSpec, string]>([
    ["binary_crossentropy", "sigmoid"],
    [keras("BinaryCrossentropy", { from_logits: true, label_smoothing: 0.1 }), "linear"],
    ["binary_crossentropy", "softplus"],
  ])("of two classes: %j after %s", (loss, activation) =>
    agree({ architecture: sequential([6], ["Dense", { units: 1, activation }]), loss }, noise(24, [6], 2)),
  );

  test.each<[LossSpec]>([["mse"], ["mae"], [keras("Huber", { delta: 0.5 })], ["log_cosh"]])(
    "of values: %j",
    (loss) =>
      agree({ architecture: sequential([4, 6], ["Dense", { units: 2 }]), loss }, values(24, [4, 6], [4, 2])),
  );
});

describe("a run that is set up anew", () => {
  test.each([
    ["Adam", {}],
    ["SGD", { momentum: 0.9 }],
    ["RMSprop", { momentum: 0.3 }],
    ["Adagrad", {}],
  ])("goes on to the bit with %s", async (class_name, config) => {
    const given = {
      architecture: sequential([8, 8, 1], ...CONV_NET.slice(1, 5), ["Dropout", { rate: 0.4 }], SOFTMAX),
      optimizer: { class_name, config },
    };
    const examples = noise(40, [8, 8, 1]);
    const { tfjs: whole } = await engines(given, examples);
    const { tfjs: first } = await engines(given, examples);
    const { tfjs: second } = await engines({ ...given, seed: 99 }, examples);
    const rows = (step: number) => rowRange(step * 10, step * 10 + 10);
    for (let step = 0; step < 4; step++) await whole.trainBatch(rows(step));
    for (let step = 0; step < 2; step++) await first.trainBatch(rows(step));
    second.restore(structuredClone(first.snapshot()));
    for (let step = 2; step < 4; step++) await second.trainBatch(rows(step));
    expect(second.state()).toEqual(whole.state());
    await Promise.all([whole, first, second].map((engine) => engine.close()));
  });
});

test("what a step needs is freed after it, and everything when the engine is closed", async () => {
  const { tf } = await loadTfjs();
  const before = tf.memory().numTensors;
  const layers: Layer[] = [...CONV_NET.slice(0, 4), ["Dropout", { rate: 0.4 }], ["Flatten", {}], SOFTMAX];
  const given = { architecture: sequential([8, 8, 1], ...layers), optimizer: ADAM };
  const { tfjs } = await engines(given, noise(40, [8, 8, 1]));
  const step = async () => {
    await tfjs.trainBatch(rowRange(0, 10));
    await tfjs.evaluate(rowRange(0, 20));
    tfjs.restore(tfjs.snapshot());
    tfjs.adopt(tfjs.keptWeights());
    return tf.memory().numTensors;
  };
  const first = await step();
  expect(await step()).toBe(first);
  await tfjs.close();
  expect(tf.memory().numTensors).toBe(before);
});

test.each([
  [16, 20],
  [1000, 2],
])(
  "with steps of %d examples, 310 are evaluated in %d batches, with the same means",
  async (batchSize, batches) => {
    const given = { architecture: sequential([4], SOFTMAX) };
    const examples = noise(310, [4]);
    const { tfjs, onnx } = await engines(given, examples, batchSize);
    let rests = 0;
    const means = await tfjs.evaluate(rowRange(0, 310), async () => void rests++);
    expect(rests).toBe(batches);
    const expected = await onnx.evaluate(rowRange(0, 310));
    // Sums of the same losses in another order.
    expect(means.loss).toBeCloseTo(expected.loss, 5);
    expect(means.accuracy).toBeCloseTo(expected.accuracy!, 6);
    await Promise.all([tfjs.close(), onnx.close()]);
  },
);

test("begins with the weights it is given", async () => {
  const architecture = sequential([4], ["Dense", { units: 2 }], SOFTMAX);
  const kernel = normals("kernel", 8);
  const { engine } = await prepareTfjs({ ...PARTS, architecture });
  const network = parseNetwork(architecture);
  const options = {
    network,
    objective: objectiveOf({ loss: PARTS.loss }, network, planWeights(network)),
    optimizer: optimizerOf(PARTS.optimizer),
    seed: 3,
    batchSize: 8,
    threads: 1,
    initialWeights: new Map([["layer0/kernel", kernel]]),
  };
  const examples = noise(10, [4]);
  const [tfjs, onnx] = [engine(options, examples), new StepRunner(options, examples)];
  expect(tfjs.state().weights.slice(0, 8)).toEqual(kernel);
  expect(tfjs.state().weights).toEqual(onnx.state().weights);
  await Promise.all([tfjs.close(), onnx.close()]);
});

describe("what TensorFlow.js does not have is refused, naming the other engine", () => {
  const dense = (config: object) => sequential([4], ["Dense", { units: 2, ...config }]);
  const read = (given: Given) => () => readForTfjs({ ...PARTS, ...given });
  test.each<[string, Given, RegExp]>([
    [
      "a layer",
      { architecture: sequential([4], ["GaussianNoise", { stddev: 1 }], SOFTMAX) },
      /Unknown layer 'GaussianNoise'.*engine "onnx"/,
    ],
    [
      "an option of a layer",
      {
        architecture: sequential(
          [4, 4, 2],
          ["Conv2D", { filters: 2, kernel_size: 2, groups: 2 }],
          ["Flatten", {}],
          SOFTMAX,
        ),
      },
      /'layer0'.groups.*engine "onnx"/,
    ],
    [
      "channels first",
      {
        architecture: sequential(
          [2, 4, 4],
          ["Conv2D", { filters: 2, kernel_size: 2, data_format: "channels_first" }],
          ["Flatten", {}],
          SOFTMAX,
        ),
      },
      /data_format/,
    ],
    [
      "a regulariser",
      { architecture: dense({ kernel_regularizer: { class_name: "L2", config: {} } }) },
      /kernel_regularizer.*engine "onnx"/,
    ],
    [
      "a constraint",
      { architecture: dense({ kernel_constraint: { class_name: "NonNeg", config: {} } }) },
      /kernel_constraint/,
    ],
    [
      "an activation",
      { architecture: dense({ activation: "hard_sigmoid" }) },
      /activation.*"hard_sigmoid".*engine "onnx"/,
    ],
    [
      "a loss",
      { architecture: dense({}), loss: "poisson" },
      /loss of the engine "tfjs" \(engine "onnx" has it\) 'poisson'/,
    ],
    [
      "an optimiser",
      { architecture: dense({}), optimizer: { class_name: "Lion", config: {} } },
      /optimizer of the engine "tfjs" \(engine "onnx" has it\) 'Lion'/,
    ],
    [
      "an option of an optimiser",
      { architecture: dense({}), optimizer: { class_name: "Adam", config: { amsgrad: true } } },
      /amsgrad.*engine "onnx"/,
    ],
    [
      "clipping",
      { architecture: dense({}), optimizer: { class_name: "SGD", config: { clipnorm: 1 } } },
      /clipnorm/,
    ],
  ])("%s", (_, given, message) => {
    expect(read(given)).toThrow(message);
  });
});

describe("the package", () => {
  test("is the quickest that can be loaded, and why the others were not is kept", async () => {
    const asked: string[] = [];
    const load = (name: string) => {
      asked.push(name);
      if (name.includes("tfjs-node"))
        throw new Error("The Node.js native addon module can not be found\nat a path");
      return {
        ready: async () => {},
        enableProdMode: () => {},
        getBackend: () => "cpu",
        version_core: "4.22.0",
      };
    };
    const { name, slow, passedOver } = await loadTfjs(load);
    expect({ name, slow }).toEqual({ name: "@tensorflow/tfjs 4.22.0 (cpu)", slow: true });
    expect(passedOver).toEqual([
      "@tensorflow/tfjs-node-gpu: The Node.js native addon module can not be found",
      "@tensorflow/tfjs-node: The Node.js native addon module can not be found",
    ]);
    expect(asked).toEqual(["@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-node", "@tensorflow/tfjs"]);
  });

  test("is missed with a word on what to install", async () => {
    const load = (name: string) => {
      throw new Error(`Cannot find module '${name}'`);
    };
    await expect(loadTfjs(load)).rejects.toMatchObject({
      type: "INVALID_INPUT",
      message: expect.stringMatching(/install @tensorflow\/tfjs-node, or @tensorflow\/tfjs/),
    });
  });
});
