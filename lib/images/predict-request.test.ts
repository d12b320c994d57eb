import { InvalidInputError } from "../errors.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import { imagePredictRequest, parseImageBody } from "./predict-request.ts";
import { printImageResponse } from "./predict-response.ts";

const metadata: ModelMetadata = {
  model: "digits",
  versions: ["1"],
  version: "1",
  platform: "onnxruntime_onnx",
  inputs: [{ name: "image", datatype: "FP32", shape: [-1, 2, 3, 1] }],
  outputs: [{ name: "probabilities", datatype: "FP32", shape: [-1, 2] }],
  labels: ["0", "1"],
};
const flat = [0, 1, 2, 3, 4, 5];
const rows = [
  [0, 1, 2],
  [3, 4, 5],
];
const pixels = rows.map((row) => row.map((value) => [value]));

const parse = (body: unknown) => parseImageBody(Buffer.from(JSON.stringify(body)));
const request = (body: unknown) => imagePredictRequest(parse(body), metadata);

describe("imagePredictRequest", () => {
  test.each([
    ["flat", flat],
    ["rows", rows],
    ["rows of pixels with a channel", pixels],
  ])("takes one image as %s, and a batch of them", (_, image) => {
    const one = request({ image });
    expect(one.batch).toBe(false);
    expect(one.request.inputs[0]).toEqual({
      name: "image",
      datatype: "FP32",
      shape: [1, 2, 3, 1],
      data: new Float32Array(flat),
    });
    const two = request({ image: [image, image] });
    expect(two.batch).toBe(true);
    expect(two.request.inputs[0]!.shape).toEqual([2, 2, 3, 1]);
    expect(two.request.inputs[0]!.data).toEqual(new Float32Array([...flat, ...flat]));
  });

  test("multiplies pixels of scale 1 to the 0..255 that models take", () => {
    const { request: scaled } = request({ image: [0, 0.5, 1, 0, 0, 0], scale: 1 });
    expect(scaled.inputs[0]!.data).toEqual(new Float32Array([0, 127.5, 255, 0, 0, 0]));
  });

  test("passes model, version and cache on", () => {
    expect(parse({ image: flat, model: "other", version: 3, cache: false })).toEqual({
      image: flat,
      scale: 255,
      model: "other",
      version: "3",
      cache: false,
    });
  });

  test.each([
    ["no image", {}, "Invalid image: received nothing"],
    ["text", { image: "x" }, 'Invalid image: received "x"'],
    [
      "an empty image",
      { image: [] },
      "Invalid image: received 0 values, expected 2x3x1, 2x3, 6 values, or a batch",
    ],
    ["a wrong length", { image: [1, 2] }, "Invalid image: received 2 values"],
    [
      "a wrong width",
      {
        image: [
          [1, 2],
          [3, 4],
        ],
      },
      "Invalid image: received an array of 2x2",
    ],
    [
      "a ragged row",
      {
        image: [
          [0, 1, 2],
          [3, 4],
        ],
      },
      "Invalid image[1]: received an array of 2 elements",
    ],
    ["a ragged batch", { image: [flat, [1]] }, "Invalid image[1]"],
    ["null", { image: [0, null, 2, 3, 4, 5] }, "Invalid image[1]: received null"],
    ["a string pixel", { image: [0, "1", 2, 3, 4, 5] }, 'Invalid image[1]: received "1"'],
    [
      "a value above the scale",
      { image: [0, 256, 2, 3, 4, 5] },
      "Invalid image[1]: received 256, expected a value from 0 to 255",
    ],
    [
      "0..255 declared as scale 1",
      { image: rows, scale: 1 },
      "Invalid image[0][2]: received 2, expected a value from 0 to 1",
    ],
    ["a negative value", { image: [0, -1, 2, 3, 4, 5] }, "Invalid image[1]: received -1"],
    ["another scale", { image: flat, scale: 100 }, "Invalid scale: received 100"],
    ["a misspelt field", { image: flat, scael: 1 }, "Invalid field 'scael'"],
    ["a cache that is no boolean", { image: flat, cache: 0 }, "Invalid cache: received 0"],
    ["a model that is no name", { image: flat, model: "" }, "Invalid model"],
  ])("refuses %s, saying where", (_, body, message) => {
    expect(() => request(body)).toThrow(InvalidInputError);
    expect(() => request(body)).toThrow(message);
  });

  test("refuses a model that takes something else", () => {
    const inputs = [{ name: "index", datatype: "INT64" as const, shape: [-1] }];
    expect(() => imagePredictRequest(parse({ image: flat }), { ...metadata, inputs })).toThrow(
      "Invalid model: received 'digits', which takes index INT64[-1]",
    );
  });
});

describe("printImageResponse", () => {
  const response = (rows: number, ...data: number[]) => ({
    model: "digits",
    version: "4",
    cached: false,
    outputs: [{ name: "p", datatype: "FP32" as const, shape: [rows, 2], data: new Float32Array(data) }],
  });

  test("answers one image with one class, and a batch with arrays", () => {
    expect(JSON.parse(printImageResponse(response(1, 0.25, 0.75), ["0", "1"], false))).toEqual({
      prediction: 1,
      probabilities: [0.25, 0.75],
      model: "digits",
      version: "4",
    });
    expect(JSON.parse(printImageResponse(response(2, 0.25, 0.75, 1, 0), ["cat", "dog"], true))).toEqual({
      prediction: [1, 0],
      label: ["dog", "cat"],
      probabilities: [
        [0.25, 0.75],
        [1, 0],
      ],
      model: "digits",
      version: "4",
    });
  });

  test("answers the one output of a binary classifier as two probabilities", () => {
    const { outputs, ...rest } = response(2, 0.25, 0.75);
    const one = { ...rest, outputs: [{ ...outputs[0]!, shape: [2, 1] }] };
    expect(JSON.parse(printImageResponse(one, ["cat", "dog"], true))).toMatchObject({
      prediction: [0, 1],
      label: ["cat", "dog"],
      probabilities: [
        [0.75, 0.25],
        [0.25, 0.75],
      ],
    });
    expect(() => printImageResponse(one, [], true)).toThrow("its only output is a score");
  });

  test("refuses NaN, which would make the first class look most probable", () => {
    expect(() => printImageResponse(response(1, Number.NaN, 1), [], false)).toThrow("output 'p' is NaN");
  });
});
