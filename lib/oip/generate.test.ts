import type { ModelMetadata } from "../protocol/inference.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { parseGenerateRequest } from "./generate-request.ts";
import { printEvent, printGenerateResponse } from "./generate-response.ts";

const metadataOf = (...inputs: TensorSpec[]): ModelMetadata => ({
  model: "m",
  version: "2",
  versions: ["2"],
  platform: "p",
  inputs,
  outputs: [],
  labels: [],
});
const text: TensorSpec = { name: "text_input", datatype: "BYTES", shape: [-1, 1] };
const ids: TensorSpec = { name: "ids", datatype: "INT64", shape: [-1, -1] };
const pairs: TensorSpec = { name: "pairs", datatype: "FP32", shape: [-1, 2] };
const fixed: TensorSpec = { name: "fixed", datatype: "BOOL", shape: [2] };

const parse = (body: unknown, ...specs: TensorSpec[]) =>
  parseGenerateRequest(
    Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
    metadataOf(...specs),
  );

describe("parseGenerateRequest", () => {
  test("takes members that are inputs as tensors and others as parameters, wherever they stand", () => {
    const body = {
      id: "42",
      text_input: "hello",
      stream: false,
      priority: 3,
      parameters: { temperature: 0, cache: false, fixed: [true, false] },
    };
    expect(parse(body, text, fixed)).toEqual({
      id: "42",
      request: {
        model: "m",
        inputs: [
          { name: "text_input", datatype: "BYTES", shape: [1, 1], data: ["hello"] },
          { name: "fixed", datatype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) },
        ],
        priority: 3,
        cache: false,
      },
    });
  });

  test("gives the innermost free dimension what the fixed ones leave over, and others one", () => {
    const shapeOf = (value: unknown, spec: TensorSpec) =>
      parse({ [spec.name]: value }, spec).request.inputs[0]!.shape;
    expect(shapeOf([1, 2, 3], ids)).toEqual([1, 3]);
    expect(shapeOf(7, ids)).toEqual([1, 1]);
    expect(shapeOf([], ids)).toEqual([1, 0]);
    expect(shapeOf([1, 2, 3, 4], pairs)).toEqual([2, 2]);
    expect(shapeOf(["a", "b"], text)).toEqual([2, 1]);
  });

  test("keeps long integers exact", () => {
    const { inputs } = parse('{"ids":[9007199254740993,-1]}', ids).request;
    expect(inputs[0]!.data).toEqual(new BigInt64Array([9007199254740993n, -1n]));
  });

  test.each([
    ["values that do not fit", { pairs: [1, 2, 3] }, "Invalid pairs: received an array of 3 elements"],
    ["too many for fixed dimensions", { fixed: [true, true, true, true] }, "fits shape [2]"],
    ["nested values", { ids: [[1]] }, "Invalid ids"],
    ["another type", { ids: "x" }, "Invalid ids[0]"],
    ["an input twice", { ids: 1, parameters: { ids: 1 } }, "Invalid ids: received the input beside"],
    ["a parameter that is no scalar", { other: [1] }, "Invalid parameters.other: received an array"],
    ["parameters that are no object", { parameters: 1 }, "Invalid parameters"],
    ["an id that is no string", { id: 1 }, "Invalid id"],
    ["an array", [1], "Invalid body"],
  ])("refuses %s", (_, body, message) => {
    expect(() => parse(body, pairs, fixed, ids)).toThrow(message);
  });
});

test("prints outputs by name, one element as that element, and an event of one line", () => {
  const outputs = [
    { name: "text_output", datatype: "BYTES" as const, shape: [1, 1], data: ['line\n"one"'] },
    { name: "scores", datatype: "FP32" as const, shape: [1, 2], data: new Float32Array([0.5, 0.25]) },
    { name: "n", datatype: "INT64" as const, shape: [], data: new BigInt64Array([9007199254740993n]) },
    { name: "none", datatype: "INT32" as const, shape: [0], data: new Int32Array(0) },
  ];
  const json = printGenerateResponse({ model: "m", version: "2", cached: false, outputs }, "a");
  expect(json).toBe(
    String.raw`{"id":"a","model_name":"m","model_version":"2","text_output":"line\n\"one\"","scores":[0.5,0.25],"n":9007199254740993,"none":[]}`,
  );
  expect(printEvent(json)).toBe(`data: ${json}\n\n`);
});
