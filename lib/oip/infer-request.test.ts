import { InvalidInputError, MalformedBodyError } from "../errors.ts";
import { parseInferRequest } from "./infer-request.ts";

const input = { name: "x", shape: [1, 2], datatype: "FP32", data: [1, 2] };
const parse = (body: unknown, version?: string) =>
  parseInferRequest(Buffer.from(typeof body === "string" ? body : JSON.stringify(body)), "m", version);

describe("parseInferRequest", () => {
  test("reads inputs, wanted outputs, id and parameters", () => {
    const body = {
      id: "7",
      parameters: { cache: false, priority: 1 },
      inputs: [input],
      outputs: [{ name: "y" }],
    };
    expect(parse(body, "3")).toEqual({
      id: "7",
      parameters: { cache: false, priority: 1 },
      request: {
        model: "m",
        version: "3",
        cache: false,
        outputs: ["y"],
        inputs: [{ name: "x", shape: [1, 2], datatype: "FP32", data: new Float32Array([1, 2]) }],
      },
    });
  });

  test("keeps INT64 beyond 2^53 exact beside inputs of other datatypes", () => {
    const text = `{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[9007199254740993]},
      {"name":"f","shape":[1],"datatype":"FP64","data":[9007199254740993]}]}`;
    const [n, f] = parse(text).request.inputs;
    expect(n!.data).toEqual(new BigInt64Array([9007199254740993n]));
    expect(f!.data).toEqual(new Float64Array([9007199254740992]));
  });

  test.each([
    ["an empty body", "", "it is empty"],
    ["white space", " \n", "it is empty"],
    ["a truncated body", '{"inputs":[', "at position 11"],
    ["text", "hello", "at position 0"],
    ["a bare NaN", '{"inputs":[{"data":[1,NaN]}]}', "at position 22"],
    ["a missing comma", '{"a":1 "b":2}', "at position 7"],
  ])("refuses %s as malformed, saying where", (_, body, where) => {
    expect(() => parse(body)).toThrow(MalformedBodyError);
    expect(() => parse(body)).toThrow(where);
  });

  test.each([
    ["a body that is no object", [1], "Invalid body: received an array of 1 element"],
    ["no inputs", {}, "Invalid inputs: received nothing"],
    ["empty inputs", { inputs: [] }, "Invalid inputs: received an array of 0 elements"],
    ["an input that is no object", { inputs: [1] }, "Invalid inputs[0]: received 1"],
    ["an input without name", { inputs: [{ ...input, name: "" }] }, "Invalid inputs[0].name"],
    ["the same input twice", { inputs: [input, input] }, "Invalid inputs[1].name: received 'x' twice"],
    [
      "an unknown datatype",
      { inputs: [{ ...input, datatype: "FP99" }] },
      'Invalid inputs["x"].datatype: received "FP99"',
    ],
    ["no shape", { inputs: [{ ...input, shape: undefined }] }, 'Invalid inputs["x"].shape: received nothing'],
    [
      "a negative size",
      { inputs: [{ ...input, shape: [-1, 2] }] },
      'Invalid inputs["x"].shape: received [-1,2]',
    ],
    [
      "ragged data",
      { inputs: [{ ...input, shape: [2, 1], data: [[1], []] }] },
      'Invalid inputs["x"].data[1]',
    ],
    ["an id that is no string", { id: 7, inputs: [input] }, "Invalid id: received 7"],
    [
      "a cache that is no boolean",
      { parameters: { cache: "no" }, inputs: [input] },
      "Invalid parameters.cache",
    ],
    ["a parameter that is an object", { parameters: { p: {} }, inputs: [input] }, "Invalid parameters.p"],
    [
      "binary outputs",
      { parameters: { binary_data_output: true }, inputs: [input] },
      "binary tensor extension",
    ],
    [
      "a binary input",
      { inputs: [{ ...input, parameters: { binary_data_size: 8 } }] },
      "binary tensor extension",
    ],
    ["outputs that are no array", { inputs: [input], outputs: "y" }, "Invalid outputs"],
  ])("refuses %s and names the field", (_, body, message) => {
    expect(() => parse(body)).toThrow(InvalidInputError);
    expect(() => parse(body)).toThrow(message);
  });
});
