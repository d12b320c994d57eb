/** What is read and printed by hand against protobufjs, which goes by the .proto file. */

import { fileURLToPath } from "node:url";
import { loadSync } from "@grpc/proto-loader";
import type { Datatype } from "../../tensor/datatype.ts";
import { readContents } from "./contents.ts";
import { readInferMessage } from "./infer-message.ts";
import { printInferResponse, printStreamError, printStreamResponse } from "./infer-response.ts";

type Method = { requestSerialize(value: object): Buffer; responseDeserialize(bytes: Buffer): object };

const PROTO = fileURLToPath(new URL("./inference.proto", import.meta.url));
const methods = loadSync(PROTO, { keepCase: true, longs: String, defaults: true, oneofs: false })[
  "inference.GRPCInferenceService"
] as unknown as { ModelInfer: Method; ModelStreamInfer: Method };

/** The bytes of typed contents, as a request carries them. */
const contentsOf = (contents: object) =>
  readInferMessage(methods.ModelInfer.requestSerialize({ inputs: [{ contents }] })).inputs[0]!.contents!;

describe("a request", () => {
  test("is read as it was written, every field of it", () => {
    const bytes = methods.ModelInfer.requestSerialize({
      model_name: "möbius",
      model_version: "12",
      id: "a",
      parameters: {
        flag: { bool_param: true },
        whole: { int64_param: "-9007199254740991" },
        text: { string_param: "é" },
        share: { double_param: 0.25 },
        natural: { uint64_param: "9007199254740991" },
        nothing: {},
      },
      inputs: [
        {
          name: "x",
          datatype: "FP32",
          shape: [1, "1099511627776", -1],
          parameters: { n: { int64_param: 3 } },
        },
        { name: "y", datatype: "BYTES", shape: [], contents: { bytes_contents: [Buffer.from("a")] } },
      ],
      outputs: [{ name: "p", parameters: { classification: { int64_param: 2 } } }, { name: "q" }],
      raw_input_contents: [Buffer.from([1, 2, 3]), Buffer.alloc(0)],
    });
    const { raw, inputs, ...message } = readInferMessage(bytes);
    expect(message).toEqual({
      model: "möbius",
      version: "12",
      id: "a",
      parameters: {
        flag: true,
        whole: Number.MIN_SAFE_INTEGER,
        text: "é",
        share: 0.25,
        natural: Number.MAX_SAFE_INTEGER,
      },
      outputs: [
        { name: "p", parameters: { classification: 2 } },
        { name: "q", parameters: {} },
      ],
    });
    expect(inputs).toMatchObject([
      { name: "x", datatype: "FP32", shape: [1, 2 ** 40, -1], parameters: { n: 3 }, contents: undefined },
      { name: "y", datatype: "BYTES", shape: [], parameters: {} },
    ]);
    expect(raw.map((part) => [...part])).toEqual([[1, 2, 3], []]);
  });

  test("without anything is one without anything", () => {
    expect(readInferMessage(Buffer.alloc(0))).toEqual({
      model: "",
      version: "",
      id: "",
      parameters: {},
      inputs: [],
      outputs: [],
      raw: [],
    });
  });

  test("whose parameters have the names of what every object has keeps them apart", () => {
    const parameters = { __proto__: { int64_param: 1 }, constructor: { int64_param: 2 } };
    const { parameters: read } = readInferMessage(methods.ModelInfer.requestSerialize({ parameters }));
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect(read.constructor).toBe(2);
    expect(readInferMessage(Buffer.alloc(0)).parameters).toEqual({});
  });
});

describe("typed contents", () => {
  const half = 2n ** 63n;

  test.each<[Datatype, string, unknown[], unknown[]]>([
    ["BOOL", "bool_contents", [true, false, true], [1, 0, 1]],
    ["INT8", "int_contents", [-128, 127, 0], [-128, 127, 0]],
    ["INT32", "int_contents", [-(2 ** 31), 2 ** 31 - 1, -1], [-(2 ** 31), 2 ** 31 - 1, -1]],
    ["INT64", "int64_contents", [String(-half), String(half - 1n), -1], [-half, half - 1n, -1n]],
    ["UINT16", "uint_contents", [0, 65_535, 1], [0, 65_535, 1]],
    ["UINT32", "uint_contents", [0, 2 ** 32 - 1, 1], [0, 2 ** 32 - 1, 1]],
    ["UINT64", "uint64_contents", [0, String(2n * half - 1n), 1], [0n, 2n * half - 1n, 1n]],
    ["FP32", "fp32_contents", [0.5, -0, Number.NaN], [0.5, -0, Number.NaN]],
    ["FP64", "fp64_contents", [1e300, -0, Number.NEGATIVE_INFINITY], [1e300, -0, Number.NEGATIVE_INFINITY]],
    ["BYTES", "bytes_contents", [Buffer.from("é"), Buffer.alloc(0), Buffer.from("a b")], ["é", "", "a b"]],
  ])("of %s come from %s to the last bit", (datatype, field, values, expected) => {
    const data = readContents(contentsOf({ [field]: values }), datatype, 3, "x");
    expect([...data]).toEqual(expected);
  });

  test("may come in several parts", () => {
    const part = (...values: number[]) => contentsOf({ fp32_contents: values });
    const contents = Buffer.concat([part(1, 2), part(), part(3)]);
    expect([...readContents(contents, "FP32", 3, "x")]).toEqual([1, 2, 3]);
  });

  test("with a packed field that is cut within a number are refused", () => {
    expect(() => readContents(Buffer.from([0x32, 0x03, 0, 0, 0, 0]), "FP32", 1, "x")).toThrow(
      "no multiple of 4",
    );
    expect(() => readContents(Buffer.from([0x12, 0x01, 0x80, 0x01]), "INT32", 1, "x")).toThrow(
      "beyond the field it is in",
    );
  });

  test("allocate nothing for elements that are only claimed", () => {
    for (const elements of [2 ** 31, 2 ** 53, Number.POSITIVE_INFINITY])
      expect(() => readContents(Buffer.from([0x12, 0x01, 0x01]), "INT32", elements, "x")).toThrow(
        `expected ${elements} elements in int_contents`,
      );
  });
});

describe("an answer", () => {
  const response = {
    model: "m",
    version: "3",
    cached: false,
    outputs: [
      { name: "p", datatype: "FP32" as const, shape: [1, 2], data: Float32Array.of(0.5, Number.NaN) },
      { name: "t", datatype: "BYTES" as const, shape: [2], data: ["é", ""] },
    ],
  };
  const printed = {
    model_name: "m",
    model_version: "3",
    id: "7",
    outputs: [
      { name: "p", datatype: "FP32", shape: ["1", "2"], parameters: {}, contents: null },
      { name: "t", datatype: "BYTES", shape: ["2"], parameters: {}, contents: null },
    ],
    raw_output_contents: [
      Buffer.from(Float32Array.of(0.5, Number.NaN).buffer),
      Buffer.from([2, 0, 0, 0, 0xc3, 0xa9, 0, 0, 0, 0]),
    ],
  };

  test("is read as it was printed", () => {
    expect(methods.ModelInfer.responseDeserialize(printInferResponse(response, "7"))).toMatchObject(printed);
    expect(methods.ModelInfer.responseDeserialize(printInferResponse(response, undefined))).toMatchObject({
      ...printed,
      id: "",
    });
  });

  test("without outputs, or with one larger than any frame, is one too", () => {
    const read = (outputs: (typeof response)["outputs"]) =>
      methods.ModelInfer.responseDeserialize(printInferResponse({ ...response, outputs }, "7"));
    expect(read([])).toMatchObject({ model_name: "m", outputs: [], raw_output_contents: [] });
    const data = Float32Array.from({ length: 100_000 }, (_, i) => i);
    const { raw_output_contents } = read([
      { name: "p", datatype: "FP32", shape: [100_000], data },
    ]) as typeof printed;
    expect(raw_output_contents[0]!.equals(Buffer.from(data.buffer))).toBe(true);
  });

  test("names what answered the steps of an ensemble", () => {
    const bytes = printInferResponse({ ...response, steps: { one: "m/1", two: "n/12" } }, "7");
    expect(methods.ModelInfer.responseDeserialize(bytes)).toMatchObject({
      ...printed,
      parameters: { "step.one": { string_param: "m/1" }, "step.two": { string_param: "n/12" } },
    });
  });

  test("on a stream says that it is the last, or why there is none", () => {
    const { responseDeserialize } = methods.ModelStreamInfer;
    expect(responseDeserialize(printStreamResponse(response, "7"))).toMatchObject({
      error_message: "",
      infer_response: { ...printed, parameters: { triton_final_response: { bool_param: true } } },
    });
    expect(responseDeserialize(printStreamError("why", "7"))).toMatchObject({
      error_message: "why",
      infer_response: { id: "7", outputs: [] },
    });
    expect(responseDeserialize(printStreamError("why", undefined))).toMatchObject({
      error_message: "why",
      infer_response: null,
    });
  });
});
