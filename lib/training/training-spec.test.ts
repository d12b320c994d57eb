/** What a training request may say; every refusal names the field, what came and what was expected. */

import cnn from "../../examples/mnist/cnn.json" with { type: "json" };
import { MoietyError } from "../errors.ts";
import { parseTrainingSpec } from "./training-spec.ts";

const MINIMAL = { model: "m", architecture: cnn, data: { dataset: "mnist" } };

const given = (changes: Record<string, unknown>) => ({ ...MINIMAL, ...changes });
const withData = (changes: Record<string, unknown>) => given({ data: { dataset: "mnist", ...changes } });

const network = (...layers: [string, Record<string, unknown>][]) => ({
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      { class_name: "InputLayer", config: { batch_shape: [null, 4, 4, 1] } },
      ...layers.map(([class_name, config]) => ({ class_name, config })),
    ],
  },
});

function refusal(request: unknown): MoietyError {
  try {
    parseTrainingSpec(request);
  } catch (error) {
    if (error instanceof MoietyError) return error;
    throw error;
  }
  throw new Error("The request was accepted");
}

describe("a training request", () => {
  test("needs a model, an architecture and a data set; the rest has defaults", () => {
    expect(parseTrainingSpec(MINIMAL)).toEqual({
      model: "m",
      architecture: cnn,
      data: { dataset: "mnist", validationSplit: 0 },
      loss: "sparse_categorical_crossentropy",
      optimizer: "Adam",
      epochs: 1,
      batchSize: 32,
      seed: 0,
      promote: true,
    });
  });

  test("takes a loss with options, and keeps what says something", () => {
    const loss = { class_name: "BinaryCrossentropy", config: { from_logits: true, axis: -1 } };
    const serialised = { module: "keras.losses", registered_name: null, ...loss };
    expect(parseTrainingSpec(given({ loss: serialised })).loss).toEqual(loss);
  });

  test.each<[string, unknown, string]>([
    ["an option it does not have", { class_name: "Huber", config: { delat: 2 } }, "did you mean 'delta'"],
    ["a sum over the batch", { class_name: "Huber", config: { reduction: "sum" } }, "loss.reduction"],
    ["no class name", { config: {} }, "expected a name or {class_name, config}"],
  ])("refuses a loss with %s", (_, loss, words) => {
    const error = refusal(given({ loss }));
    expect(error).toMatchObject({ type: "INVALID_MODEL", code: 400 });
    expect(error.message).toContain(words);
  });

  test("refuses a loss that compares classes over one output", () => {
    const architecture = network(["Flatten", {}], ["Dense", { units: 1, activation: "sigmoid" }]);
    const error = refusal(given({ architecture, loss: "categorical_crossentropy" }));
    expect(error.message).toContain("binary_crossentropy takes one output");
    expect(parseTrainingSpec(given({ architecture, loss: "binary_crossentropy" })).loss).toBe(
      "binary_crossentropy",
    );
  });

  test("keeps all that it says", () => {
    const full = {
      model: "digits.v2_x-1",
      architecture: cnn,
      data: { dataset: "fashion-mnist", trainLimit: 100, testLimit: 50, validationSplit: 0.25 },
      loss: "mse",
      optimizer: { class_name: "SGD", config: { learning_rate: 0.5 } },
      epochs: 7,
      batchSize: 1,
      seed: 4294967295,
      promote: false,
    };
    expect(parseTrainingSpec(full)).toEqual(full);
  });

  test("may hold its architecture as the text that model.to_json() gives", () => {
    expect(parseTrainingSpec(given({ architecture: JSON.stringify(cnn) })).architecture).toEqual(cnn);
  });

  const tooLong = "m".repeat(65);
  const name = "1 to 64 letters";
  test.each<[string, unknown, { field: string; received: string; expected: string }]>([
    ["that is nothing", undefined, { field: "training request", received: "nothing", expected: "an object" }],
    ["that is null", null, { field: "training request", received: "null", expected: "an object" }],
    ["that is a list", [1], { field: "training request", received: "[1]", expected: "an object" }],
    ["that is a text", "mnist", { field: "training request", received: '"mnist"', expected: "an object" }],
    [
      "with a misspelt field",
      given({ epoch: 3 }),
      { field: "training request.epoch", received: "3", expected: "no such field; known: model" },
    ],
    ["without a model", given({ model: undefined }), { field: "model", received: "nothing", expected: name }],
    ["with an empty model", given({ model: "" }), { field: "model", received: '""', expected: name }],
    [
      "with a path as model",
      given({ model: "../m" }),
      { field: "model", received: '"../m"', expected: name },
    ],
    ["with a long model", given({ model: tooLong }), { field: "model", received: tooLong, expected: name }],
    ["with a number as model", given({ model: 5 }), { field: "model", received: "5", expected: name }],
    [
      "without data",
      given({ data: undefined }),
      { field: "data", received: "nothing", expected: "an object" },
    ],
    [
      "with data as text",
      given({ data: "mnist" }),
      { field: "data", received: "mnist", expected: "an object" },
    ],
    [
      "with a misspelt field of data",
      withData({ limit: 3 }),
      { field: "data.limit", received: "3", expected: "known: dataset, trainLimit, testLimit" },
    ],
    [
      "without a data set",
      given({ data: {} }),
      { field: "data.dataset", received: "nothing", expected: "a data set name" },
    ],
    [
      "with a negative limit",
      withData({ trainLimit: -1 }),
      { field: "data.trainLimit", received: "-1", expected: "an integer from 1" },
    ],
    [
      "with half an example",
      withData({ testLimit: 1.5 }),
      { field: "data.testLimit", received: "1.5", expected: "an integer from 1" },
    ],
    [
      "with a limit of null",
      withData({ testLimit: null }),
      { field: "data.testLimit", received: "null", expected: "an integer from 1" },
    ],
    [
      "that validates on everything",
      withData({ validationSplit: 1 }),
      { field: "data.validationSplit", received: "1", expected: "a number from 0 to below 1" },
    ],
    [
      "with a split of NaN",
      withData({ validationSplit: Number.NaN }),
      { field: "data.validationSplit", received: "NaN", expected: "a number from 0 to below 1" },
    ],
    ["of no epochs", given({ epochs: 0 }), { field: "epochs", received: "0", expected: "from 1 to 100000" }],
    [
      "of endless epochs",
      given({ epochs: Number.POSITIVE_INFINITY }),
      { field: "epochs", received: "Infinity", expected: "from 1 to 100000" },
    ],
    [
      "with epochs as a big integer",
      given({ epochs: 5n }),
      { field: "epochs", received: "5", expected: "an integer" },
    ],
    [
      "with epochs as text",
      given({ epochs: "5" }),
      { field: "epochs", received: '"5"', expected: "an integer" },
    ],
    [
      "with empty batches",
      given({ batchSize: 0 }),
      { field: "batchSize", received: "0", expected: "from 1 to 65536" },
    ],
    ["with a negative seed", given({ seed: -1 }), { field: "seed", received: "-1", expected: "from 0" }],
    [
      "with a wrong promote",
      given({ promote: "no" }),
      { field: "promote", received: '"no"', expected: "true or false" },
    ],
    [
      "with a number as loss",
      given({ loss: 1 }),
      { field: "loss", received: "1", expected: "the name of a loss" },
    ],
    [
      "with an architecture that is no JSON",
      given({ architecture: "{" }),
      { field: "architecture", received: "a string that is not JSON", expected: "Keras JSON" },
    ],
  ])("%s is refused by field, with what came and what was expected", (_, request, fault) => {
    const error = refusal(request);
    expect(error).toMatchObject({ type: "INVALID_INPUT", code: 400, data: { field: fault.field } });
    expect(error.data.received).toContain(fault.received);
    expect(error.data.expected).toContain(fault.expected);
    for (const fact of Object.values(error.data)) expect(error.message).toContain(fact);
  });

  test.each<[string, unknown, string, string[]]>([
    [
      "layer",
      given({ architecture: network(["Conv2d", { filters: 1, kernel_size: 3 }]) }),
      "UNKNOWN_LAYER",
      ["Conv2d", "did you mean 'Conv2D'"],
    ],
    [
      "activation",
      given({ architecture: network(["Flatten", {}], ["Dense", { units: 2, activation: "softmx" }]) }),
      "UNKNOWN_COMPONENT",
      ["activation 'softmx'", "did you mean 'softmax'"],
    ],
    [
      "loss",
      given({ loss: "sparse_categorical_crossentropie" }),
      "UNKNOWN_COMPONENT",
      ["loss", "did you mean 'sparse_categorical_crossentropy'"],
    ],
    [
      "loss that is a method of objects",
      given({ loss: "toString" }),
      "UNKNOWN_COMPONENT",
      ["loss 'toString'"],
    ],
    ["optimizer", given({ optimizer: "Adan" }), "UNKNOWN_COMPONENT", ["'Adan'", "did you mean 'Adam'"]],
    [
      "optimizer with options",
      given({ optimizer: { class_name: "Sgdd", config: {} } }),
      "UNKNOWN_COMPONENT",
      ["Sgdd", "did you mean 'SGD'"],
    ],
  ])("with an unknown %s is told the nearest known one", (_, request, type, words) => {
    const error = refusal(request);
    expect(error).toMatchObject({ type, code: 400 });
    for (const word of words) expect(error.message).toContain(word);
  });

  test.each<[string, unknown, string]>([
    ["nothing", undefined, "architecture"],
    ["null", null, "architecture"],
    ["a number", 7, "architecture"],
    ["without layers", { class_name: "Sequential", config: { name: "n", layers: [] } }, "layers"],
    ["that has no weights to train", network(["Flatten", {}]), "no weights to train"],
    [
      "whose layers do not fit",
      network(["Flatten", {}], ["Conv2D", { filters: 2, kernel_size: 3 }]),
      "conv2d",
    ],
  ])("with an architecture %s is refused before a job exists", (_, architecture, word) => {
    const error = refusal(given({ architecture }));
    expect(error.code).toBe(400);
    expect(error.message).toContain(word);
  });

  test.each<[string, Record<string, unknown>, string]>([
    ["by no list", { callbacks: "EarlyStopping" }, 'received "EarlyStopping", expected a list of at most 16'],
    ["by too long a list", { callbacks: Array(17).fill("TerminateOnNaN") }, "a list of at most 16"],
    ["unknown", { callbacks: ["EarlyStoping"] }, "did you mean 'EarlyStopping'?"],
    [
      "with an unknown option",
      { callbacks: [{ class_name: "EarlyStopping", config: { patient: 1 } }] },
      "callbacks[0].patient: no such option; did you mean 'patience'?",
    ],
    [
      "that go by validation where there is none",
      { callbacks: ["TerminateOnNaN", "EarlyStopping"] },
      'callbacks[1].monitor: received "val_loss", expected one of loss, accuracy: the figures this run has',
    ],
    [
      "that go by a figure nobody computes",
      { callbacks: [{ class_name: "EarlyStopping", config: { monitor: "auc" } }] },
      'received "auc"',
    ],
    [
      "that set a rate which a schedule sets",
      {
        callbacks: [{ class_name: "ReduceLROnPlateau", config: { monitor: "loss" } }],
        optimizer: {
          class_name: "SGD",
          config: {
            learning_rate: {
              class_name: "ExponentialDecay",
              config: { initial_learning_rate: 0.1, decay_steps: 1, decay_rate: 0.5 },
            },
          },
        },
      },
      "a schedule would overrule it",
    ],
    ["stored too often", { checkpointSeconds: 0 }, "checkpointSeconds: received 0"],
  ])("with callbacks %s is refused", (_, changes, message) => {
    const error = refusal(given(changes));
    expect(error.code).toBe(400);
    expect(error.message).toContain(message);
  });

  const deep = (levels: number): unknown => {
    let value: unknown = [];
    for (let i = 0; i < levels; i++) value = [value];
    return value;
  };
  test.each<[string, unknown, string]>([
    ["a big integer as loss", given({ loss: 5n }), "Invalid loss: received 5n, expected JSON data"],
    [
      "a big integer within its architecture",
      given({ architecture: network(["Flatten", {}], ["Dense", { units: 3n }]) }),
      "architecture.config.layers[2].config.units: received 3n",
    ],
    [
      "a number JSON has no text for",
      given({ optimizer: { class_name: "Adam", config: { clipnorm: Number.POSITIVE_INFINITY } } }),
      "optimizer.config.clipnorm: received Infinity, expected a finite number",
    ],
    ["bytes", given({ initialWeights: { layers: new Uint8Array(2) } }), "layers: received Uint8Array"],
    ["depths nobody can walk", given({ optimizer: deep(100_000) }), "optimizer: received data more than 512"],
    ["as deep column names", withData({ inputs: { x: deep(100_000) } }), "data.inputs: received data more"],
    [
      "as deep text",
      given({ architecture: `${"[".repeat(4000)}${"]".repeat(4000)}` }),
      "architecture: received data more than 512 levels deep",
    ],
    [
      "more than a record can keep",
      given({ data: { dataset: "d".repeat(500_000) } }),
      "expected at most 500000 bytes",
    ],
  ])("that holds %s is refused", (_, request, message) => {
    const error = refusal(request);
    expect(error).toMatchObject({ type: "INVALID_INPUT", code: 400 });
    expect(error.message).toContain(message);
  });

  test("for more weights than an ONNX file can hold is refused", () => {
    const of = (units: number) =>
      given({
        architecture: network(["Flatten", {}], ["Dense", { units }], ["Dense", { units: 2, name: "y" }]),
      });
    expect(refusal(of(2 ** 40)).message).toContain("its weights take 83562883710984 bytes, expected at most");
    parseTrainingSpec(of(2 ** 24));
  });

  test("for an output that the runtime has no name for is refused", () => {
    const of = (name: string) =>
      given({ architecture: network(["Flatten", {}], ["Dense", { units: 2, name }]) });
    expect(refusal(of("__proto__")).message).toContain("layer '__proto__': an output needs another name");
    parseTrainingSpec(of("constructor"));
  });

  test.each(["", "1.0", "0x1", " 1", "01", "-0", "10"])("with a weight of class '%s' is refused", (name) => {
    expect(refusal(given({ classWeights: { [name]: 2 } })).message).toContain("expected a class from 0 to 9");
  });

  test("with callbacks that fit is taken as it is", () => {
    const callbacks = [
      { class_name: "EarlyStopping", config: { patience: 2 } },
      { class_name: "ReduceLROnPlateau", config: { monitor: "val_accuracy" } },
    ];
    const data = { dataset: "mnist", validationSplit: 0.1 };
    const spec = parseTrainingSpec(given({ callbacks, data, checkpointSeconds: 2 }));
    expect(spec).toMatchObject({ callbacks, checkpointSeconds: 2 });
    expect(parseTrainingSpec(spec)).toEqual(spec);
    expect(Object.keys(parseTrainingSpec(given({ callbacks: [] })))).not.toContain("callbacks");
  });

  test("with a learning rate that is no number is refused", () => {
    const error = refusal(given({ optimizer: { class_name: "SGD", config: { learning_rate: "fast" } } }));
    expect(error.code).toBe(400);
    expect(error.message).toContain("learning_rate");
    expect(error.message).toContain("fast");
  });
});
