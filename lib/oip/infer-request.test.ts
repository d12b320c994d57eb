import { InvalidInputError, MalformedBodyError } from "../errors.ts";
import { type InferRequest, parseInferRequest } from "./infer-request.ts";
import { isBinary } from "./requested-outputs.ts";

const input = { name: "x", shape: [1, 2], datatype: "FP32", data: [1, 2] };
const parse = (body: unknown, version?: string) =>
  parseInferRequest(Buffer.from(typeof body === "string" ? body : JSON.stringify(body)), "m", version);

/** A JSON header with binary data after it. */
function parseBinary(header: object, ...data: Uint8Array[]): InferRequest {
  const json = Buffer.from(JSON.stringify(header));
  return parseInferRequest(Buffer.concat([json, ...data]), "m", undefined, json.length);
}
const binaryInput = (bytes: number, changes: object = {}) => ({
  name: "x",
  shape: [1, 2],
  datatype: "FP32",
  parameters: { binary_data_size: bytes },
  ...changes,
});

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
        priority: 1,
        inputs: [{ name: "x", shape: [1, 2], datatype: "FP32", data: new Float32Array([1, 2]) }],
      },
      form: { binary: false, outputs: [{ name: "y", binary: undefined, classes: 0 }] },
    });
  });

  test("reads binary data in the order of the inputs that declare it, among others that do not", () => {
    const inputs = [
      binaryInput(8, { name: "a" }),
      { name: "b", shape: [1], datatype: "INT64", data: [9007199254740993n.toString()] },
      binaryInput(3, { name: "c", shape: [3], datatype: "BOOL" }),
      binaryInput(0, { name: "d", shape: [0, 2] }),
    ];
    const json = Buffer.from(JSON.stringify({ inputs }).replace('"9007199254740993"', "9007199254740993"));
    const data = Buffer.concat([
      json,
      new Uint8Array(new Float32Array([3, 4]).buffer),
      Buffer.from([1, 0, 1]),
    ]);
    expect(
      parseInferRequest(data, "m", undefined, json.length).request.inputs.map((tensor) => tensor.data),
    ).toEqual([
      new Float32Array([3, 4]),
      new BigInt64Array([9007199254740993n]),
      new Uint8Array([1, 0, 1]),
      new Float32Array(0),
    ]);
  });

  test("reads how each output is to leave; what it says itself counts more than the request", () => {
    const { form, request } = parse({
      parameters: { binary_data_output: true },
      inputs: [input],
      outputs: [
        { name: "y", parameters: { binary_data: false, classification: 3 } },
        { name: "z", parameters: {} },
      ],
    });
    expect(request.outputs).toEqual(["y", "z"]);
    expect(isBinary(form, "y")).toBe(false);
    expect(isBinary(form, "z")).toBe(true);
    expect(form.outputs[0]!.classes).toBe(3);
    expect(isBinary(parse({ parameters: { binary_data_output: true }, inputs: [input] }).form, "y")).toBe(
      true,
    );
    expect(isBinary(parse({ inputs: [input] }).form, "y")).toBe(false);
  });

  test("reads a time-out in microseconds, and 0 as the default", () => {
    const requestWith = (parameters: object) => parse({ parameters, inputs: [input] }).request;
    expect(requestWith({ timeout: 2_500, priority: 0 })).toMatchObject({ timeoutMs: 2.5, priority: 0 });
    expect(requestWith({ timeout: 0 })).not.toHaveProperty("timeoutMs");
  });

  test("keeps a sequence together by its id, and passes over where it starts and ends", () => {
    const requestWith = (parameters: object) => parse({ parameters, inputs: [input] }).request;
    const sequence = { sequence_id: 42, sequence_start: true, sequence_end: false };
    expect(requestWith(sequence)).toMatchObject({ affinity: "42" });
    expect(requestWith({ sequence_id: "a session" })).toMatchObject({ affinity: "a session" });
    for (const none of [0, ""]) expect(requestWith({ sequence_id: none })).not.toHaveProperty("affinity");
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
      "binary outputs that are neither wanted nor not",
      { parameters: { binary_data_output: 1 }, inputs: [input] },
      "Invalid parameters.binary_data_output: received 1, expected true or false",
    ],
    [
      "a negative time-out",
      { parameters: { timeout: -1 }, inputs: [input] },
      "Invalid parameters.timeout: received -1, expected an integer of at least 0",
    ],
    [
      "a priority that is text",
      { parameters: { priority: "1" }, inputs: [input] },
      "Invalid parameters.priority",
    ],
    [
      "a sequence with a fraction for an id",
      { parameters: { sequence_id: 1.5 }, inputs: [input] },
      "Invalid parameters.sequence_id: received 1.5, expected an integer of at least 0, or a string",
    ],
    [
      "a sequence with an endless id",
      { parameters: { sequence_id: "x".repeat(300) }, inputs: [input] },
      "Invalid parameters.sequence_id: received 300 characters, expected 1 to 256 printable characters",
    ],
    [
      "a sequence that perhaps starts",
      { parameters: { sequence_id: 1, sequence_start: 1 }, inputs: [input] },
      "Invalid parameters.sequence_start: received 1, expected true or false",
    ],
    ["reserved names", { parameters: { triton_x: 1 }, inputs: [input] }, "they are reserved"],
    [
      "data in two places",
      { inputs: [{ ...input, parameters: { binary_data_size: 8 } }] },
      "received both 'data' and 'binary_data_size'",
    ],
    [
      "shared memory",
      { inputs: [{ ...input, parameters: { shared_memory_region: "r" } }] },
      'Invalid inputs["x"].parameters.shared_memory_region',
    ],
    [
      "outputs into shared memory",
      { inputs: [input], outputs: [{ name: "y", parameters: { shared_memory_region: "r" } }] },
      'Invalid outputs["y"].parameters.shared_memory_region',
    ],
    [
      "classes that are no number",
      { inputs: [input], outputs: [{ name: "y", parameters: { classification: "all" } }] },
      'Invalid outputs["y"].parameters.classification',
    ],
    [
      "a string that has no UTF-8 form",
      { inputs: [{ ...input, datatype: "BYTES", data: ["a", "\ud800"] }] },
      'Invalid inputs["x"].data[1]',
    ],
    ["a name of megabytes", { inputs: [{ ...input, name: "x".repeat(2 ** 20) }] }, "Invalid inputs[0].name"],
    ["outputs that are no array", { inputs: [input], outputs: "y" }, "Invalid outputs"],
  ])("refuses %s and names the field", (_, body, message) => {
    expect(() => parse(body)).toThrow(InvalidInputError);
    expect(() => parse(body)).toThrow(message);
  });

  test.each([
    ["too little", [binaryInput(8)], 7, 'Invalid inputs["x"].parameters.binary_data_size: received 8'],
    ["too much", [binaryInput(8)], 9, "Invalid body: received 9 bytes of binary data, expected the 8 bytes"],
    ["a size unlike the shape", [binaryInput(4)], 4, 'Invalid inputs["x"] binary data: received 4 bytes'],
    ["a size that is none", [binaryInput(-1)], 8, "received -1, expected an integer of at least 0"],
    ["a size beyond all", [binaryInput(2 ** 52)], 8, "at most the 8 bytes"],
    [
      "a shape that overflows",
      [binaryInput(8, { shape: [2 ** 52, 2 ** 52] })],
      8,
      "binary data: received 8 bytes",
    ],
    ["data for two inputs in one", [binaryInput(8), binaryInput(8, { name: "z" })], 8, "at most the 0 bytes"],
  ])("refuses binary data that are %s", (_, inputs, bytes, message) => {
    const refused = () => parseBinary({ inputs }, new Uint8Array(bytes));
    expect(refused).toThrow(InvalidInputError);
    expect(refused).toThrow(message);
  });

  test("refuses a header that ends inside the JSON, or runs into the data", () => {
    const json = Buffer.from(JSON.stringify({ inputs: [binaryInput(8)] }));
    const body = Buffer.concat([json, new Uint8Array(8)]);
    for (const wrong of [1, json.length - 1, json.length + 1])
      expect(() => parseInferRequest(body, "m", undefined, wrong)).toThrow(MalformedBodyError);
  });

  test("refuses 250,000 inputs of one name at once", () => {
    const inputs = Array.from({ length: 250_000 }, (_, i) => ({
      name: String(i),
      shape: [0],
      datatype: "FP32",
      data: [],
    }));
    inputs.push(inputs[0]!);
    expect(() => parse({ inputs })).toThrow("received '0' twice");
  });
});
