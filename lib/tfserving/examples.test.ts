import type { ModelMetadata, PredictResponse } from "../protocol/inference.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { readExampleRequest } from "./example-request.ts";
import { printClassifyResponse, printRegressResponse } from "./example-response.ts";
import { parseRequestBody } from "./request-body.ts";
import { readSignatureName, scoresOutput, servingMetadata, valueOutput } from "./signature.ts";
import { servingStatus } from "./status.ts";

const spec = (name: string, datatype: TensorSpec["datatype"], ...shape: number[]): TensorSpec => ({
  name,
  datatype,
  shape,
});
const metadata = (
  inputs: TensorSpec[],
  outputs = [spec("y", "FP32", -1, 1)],
  labels: string[] = [],
): ModelMetadata => ({
  model: "m",
  versions: ["3"],
  version: "3",
  platform: "onnxruntime_onnx",
  inputs,
  outputs,
  labels,
});

const read = (inputs: TensorSpec[], body: string) =>
  readExampleRequest(parseRequestBody(Buffer.from(body)), metadata(inputs), "2", "y");
const values = ({ data }: Tensor) => Array.from(data as ArrayLike<unknown>);

/** From TensorFlow Serving's util/json_tensor_test.cc, with the features' types as a signature would have them. */
const NAMES = spec("names", "BYTES", -1, 2);
const RATINGS = spec("ratings", "FP32", -1, -1);

describe("examples", () => {
  test("become one row each, values and lists alike", () => {
    const request = read(
      [spec("x", "FP32", -1, 1)],
      '{"examples": [{"x": 1.0}, {"x": [2]}, {"x": NaN, "more": 1}]}',
    );
    expect(request).toMatchObject({ model: "m", version: "2", outputs: ["y"], nonFinite: true });
    expect(request.inputs).toEqual([
      { name: "x", datatype: "FP32", shape: [3, 1], data: Float32Array.of(1, 2, Number.NaN) },
    ]);
  });

  test("share the features of their context", () => {
    const { inputs } = read(
      [spec("query", "BYTES", -1), spec("location", "BYTES", -1, 1), NAMES, RATINGS],
      `{"signature_name": "serving_default",
        "context": {"query": "pizza", "location": ["sfo"]},
        "examples": [
          {"names": ["foo", "bar"], "ratings": [8.0, 9.0, NaN, Infinity]},
          {"names": ["baz", {"b64": "aGVsbG8="}], "ratings": [6.0, 1, 2, -Infinity]}
        ]}`,
    );
    expect(inputs.map(({ shape }) => shape)).toEqual([[2], [2, 1], [2, 2], [2, 4]]);
    expect(inputs.map(values)).toEqual([
      ["pizza", "pizza"],
      ["sfo", "sfo"],
      ["foo", "bar", "baz", "hello"],
      [8, 9, Number.NaN, Infinity, 6, 1, 2, -Infinity],
    ]);
  });

  test("count true and false as numbers in features of integers", () => {
    const { inputs } = read(
      [spec("mix", "INT64", -1, 4)],
      '{"examples": [{"mix": [1, true, false, 9007199254740993]}]}',
    );
    expect(values(inputs[0]!)).toEqual([1n, 1n, 0n, 9007199254740993n]);
  });

  test.each([
    ["an example list that is missing", "{}", "examples"],
    ["an empty one", '{"examples": []}', "at least one"],
    ["one that is no list", '{"examples": {"names": ["foo", "bar"]}}', "examples: received an object"],
    ["an example that is no object", '{"examples": [[{"names": ["foo", "bar"]}]]}', "examples[0]"],
    ["a context that is no object", '{"context": [], "examples": [{"names": ["a", "b"]}]}', "context"],
    [
      "a feature in both",
      '{"context": {"names": ["a", "b"]}, "examples": [{"names": ["a", "b"]}]}',
      "examples[0].names",
    ],
    ["null in a feature", '{"examples": [{"names": ["a", null]}]}', "examples[0].names[1]: received null"],
    ["a list in a feature", '{"examples": [{"names": [["a"], "b"]}]}', "examples[0].names[0]"],
    ["an object in a feature", '{"examples": [{"names": ["a", {"test": 10}]}]}', "examples[0].names[1]"],
    ["a number for text", '{"examples": [{"names": [20, 18446744073709551603]}]}', "examples[0].names[0]"],
    ["a missing feature", '{"examples": [{"names": ["a", "b"]}, {}]}', "examples[1].names"],
    ["too few values", '{"examples": [{"names": "a"}]}', "received 1 value, expected 2"],
    [
      "rows of different lengths",
      '{"examples": [{"names": ["a", "b"]}, {"names": ["a", "b", "c"]}]}',
      "3 values",
    ],
  ])("refuse %s", (_, body, message) => {
    expect(() => read([NAMES], body)).toThrow(message);
  });

  test("refuse inputs whose rows they cannot say", () => {
    expect(() => read([spec("x", "FP32", -1, -1, -1)], '{"examples": [{"x": 1}]}')).toThrow("[-1,-1,-1]");
    expect(() => read([spec("x", "FP32")], '{"examples": [{"x": 1}]}')).toThrow("shape []");
    const half = '{"examples": [{"x": [1, 2, 3]}]}';
    expect(() => read([spec("x", "FP32", -1, -1, 2)], half)).toThrow("3 values");
  });
});

const answer = (shape: number[], data: Tensor["data"]): PredictResponse => ({
  model: "m",
  version: "3",
  cached: false,
  outputs: [{ name: "y", datatype: data instanceof Float64Array ? "FP64" : "FP32", shape, data }],
});

describe("results", () => {
  test("of classify are pairs of label and score, in the order of the classes", () => {
    const scores = Float32Array.of(0.2, 0.7, 0.1, 0.7, 0.1, 0.2);
    expect(printClassifyResponse(answer([2, 3], scores), ["car", "bike", "bus"], 2)).toBe(
      '{"results":[[["car",0.2],["bike",0.7],["bus",0.1]],[["car",0.7],["bike",0.1],["bus",0.2]]]}',
    );
  });

  test("of one probability are both classes", () => {
    expect(printClassifyResponse(answer([1, 1], Float64Array.of(0.25)), ["no", "yes"], 1)).toBe(
      '{"results":[[["no",0.75],["yes",0.25]]]}',
    );
  });

  test("of regress are one number per example, whatever number it is", () => {
    const numbers = Float32Array.of(0.2, Infinity, 1, -Infinity, Number.NaN);
    expect(printRegressResponse(answer([5, 1], numbers), 5)).toBe(
      '{"results":[0.2,Infinity,1.0,-Infinity,NaN]}',
    );
    expect(printRegressResponse(answer([2], Float32Array.of(3.5, 4)), 2)).toBe('{"results":[3.5,4.0]}');
  });

  test("that the model does not keep its word about are its own fault", () => {
    const wrong = answer([2, 2], Float32Array.of(1, 2, 3, 4));
    expect(() => printClassifyResponse(wrong, ["a", "b", "c"], 2)).toThrow("expected [2,3]");
    expect(() => printRegressResponse(wrong, 2)).toThrow("expected [2] or [2,1]");
  });
});

describe("signatures", () => {
  const classifier = metadata([spec("x", "FP32", -1, 4)], [spec("p", "FP32", -1, 3)], ["a", "b", "c"]);
  const regressor = metadata([spec("x", "FP32", -1, 1)]);
  const other = metadata([spec("x", "FP32", -1)], [spec("y", "INT32", -1, 2), spec("z", "FP32", -1)]);

  test("classify with class names, regress with one number per row, and neither with anything else", () => {
    expect(scoresOutput(classifier).name).toBe("p");
    expect(valueOutput(regressor).name).toBe("y");
    expect(() => valueOutput(classifier)).toThrow("outputs p FP32[-1,3] with 3 class names");
    expect(() => scoresOutput(regressor)).toThrow("class names");
    expect(() => scoresOutput(other)).toThrow("y INT32[-1,2], z FP32[-1]");
    expect(() => valueOutput(other)).toThrow("regress");
  });

  test("are known by the names that clients use", () => {
    for (const name of [undefined, "", "serving_default", "tensorflow/serving/regress"])
      readSignatureName(name, "regress");
    expect(() => readSignatureName("tensorflow/serving/regress", "predict")).toThrow("signature_name");
    expect(() => readSignatureName(["serving_default"], "predict")).toThrow("signature_name");
  });

  test("are described as protobuf prints them", () => {
    const info = (name: string, dtype: string, ...sizes: string[]) => ({
      dtype,
      tensor_shape: { dim: sizes.map((size) => ({ size, name: "" })), unknown_rank: false },
      name: `${name}:0`,
    });
    const { model_spec, metadata: described } = servingMetadata(regressor);
    expect(model_spec).toEqual({ name: "m", signature_name: "", version: "3" });
    expect(described.signature_def.signature_def).toEqual({
      serving_default: {
        inputs: { x: info("x", "DT_FLOAT", "-1", "1") },
        outputs: { y: info("y", "DT_FLOAT", "-1", "1") },
        method_name: "tensorflow/serving/predict",
        defaults: {},
      },
      "tensorflow/serving/regress": {
        inputs: {
          inputs: { dtype: "DT_STRING", tensor_shape: { dim: [], unknown_rank: true }, name: "tf_example:0" },
        },
        outputs: { outputs: info("y", "DT_FLOAT", "-1", "1") },
        method_name: "tensorflow/serving/regress",
        defaults: {},
      },
    });
    const names = ["serving_default", "tensorflow/serving/classify"];
    expect(Object.keys(servingMetadata(classifier).metadata.signature_def.signature_def)).toEqual(names);
    expect(Object.keys(servingMetadata(other).metadata.signature_def.signature_def)).toEqual([
      "serving_default",
    ]);
  });
});

test("a model's status is told newest first, in the words of both protocols", () => {
  const state = (version: string, is: "ready" | "failed" | "loading" | "unloading", reason = "") => ({
    model: "m",
    version,
    state: is,
    reason,
  });
  const states = [
    state("9", "unloading"),
    state("10", "ready"),
    state("11", "failed", "broken"),
    state("12", "loading"),
  ];
  expect(servingStatus("m", states, true)).toEqual({
    name: "m",
    ready: true,
    model_version_status: [
      { version: "12", state: "LOADING", status: { error_code: "OK", error_message: "" } },
      { version: "11", state: "END", status: { error_code: "UNKNOWN", error_message: "broken" } },
      { version: "10", state: "AVAILABLE", status: { error_code: "OK", error_message: "" } },
      { version: "9", state: "UNLOADING", status: { error_code: "OK", error_message: "" } },
    ],
  });
});
