import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { REFUSED, REQUESTS, RESPONSES } from "../../test/fixtures/tfserving/vectors.ts";
import { errorType } from "../errors.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import type { Datatype } from "../tensor/datatype.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { readPredictRequest } from "./predict-request.ts";
import { printPredictResponse } from "./predict-response.ts";
import { parseRequestBody } from "./request-body.ts";
import { readSignatureName } from "./signature.ts";
import { printFloat32 } from "./value-text.ts";

const metadata = (inputs: TensorSpec[]): ModelMetadata => ({
  model: "m",
  versions: ["1"],
  version: "1",
  platform: "onnxruntime_onnx",
  inputs,
  outputs: [],
  labels: [],
});

function read(inputs: TensorSpec[], body: string) {
  const parsed = parseRequestBody(Buffer.from(body));
  readSignatureName(parsed.root.signature_name, "predict");
  return readPredictRequest(parsed, metadata(inputs), undefined);
}

const one = (datatype: Datatype, values: string) => {
  const { request } = read([{ name: "x", datatype, shape: [-1] }], `{"instances": [${values}]}`);
  return Array.from(request.inputs[0]!.data as ArrayLike<unknown>);
};
const print = (outputs: Tensor[], format: "rows" | "columns") =>
  printPredictResponse({ model: "m", version: "1", outputs, cached: false }, format);

function refusal(work: () => unknown): Error {
  try {
    work();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was not refused");
}

describe("a predict request", () => {
  test.each(REQUESTS)("reads $says as TensorFlow Serving does", ({ inputs, body, tensors }) => {
    const { request } = read(inputs, body);
    const given = request.inputs.map(({ name, shape, data }) => [
      name,
      { shape, values: Array.from(data as ArrayLike<unknown>) },
    ]);
    expect(Object.fromEntries(given)).toEqual(tensors);
    expect(request.inputs.map(({ datatype }) => datatype)).toEqual(inputs.map(({ datatype }) => datatype));
  });

  test.each(REFUSED)(
    "refuses $says, as TensorFlow Serving does, and says where",
    ({ inputs, body, where }) => {
      const error = refusal(() => read(inputs, body));
      expect(["INVALID_INPUT", "MALFORMED_BODY"]).toContain(errorType(error));
      expect(error.message).toContain(where);
    },
  );

  test("converts to every datatype, and refuses what it cannot hold", () => {
    expect(one("BOOL", "true, false")).toEqual([1, 0]);
    expect(one("INT8", "-128, 127")).toEqual([-128, 127]);
    expect(one("UINT8", "0, 255")).toEqual([0, 255]);
    expect(one("INT16", "-32768, 32767")).toEqual([-32768, 32767]);
    expect(one("UINT16", "65535")).toEqual([65535]);
    expect(one("INT32", "-2147483648")).toEqual([-(2 ** 31)]);
    expect(one("UINT32", "4294967295")).toEqual([2 ** 32 - 1]);
    expect(one("INT64", "9223372036854775807, -9223372036854775808")).toEqual([2n ** 63n - 1n, -(2n ** 63n)]);
    expect(one("UINT64", "18446744073709551615, 1")).toEqual([2n ** 64n - 1n, 1n]);
    const wrong: [Datatype, string][] = [
      ["BOOL", "1"],
      ["INT8", "128"],
      ["UINT8", "-1"],
      ["UINT16", "65536"],
      ["INT32", "1.5"],
      ["UINT32", "4294967296"],
      ["INT64", "9223372036854775808"],
      ["INT64", "1e30"],
      ["UINT64", "-1"],
      ["INT64", "NaN"],
      ["FP32", "1e999"],
      ["FP32", "true"],
      ["FP16", "1"],
      ["BF16", "1"],
      ["BYTES", "1"],
      ["BYTES", '"\\ud800"'],
      ["BYTES", '{"b64": "/w=="}'],
      ["BYTES", '{"b64": 1}'],
      ["BYTES", '{"b64": "aGVsbG8=", "more": 1}'],
    ];
    for (const [datatype, value] of wrong) expect(() => one(datatype, value)).toThrow();
  });

  test("takes every spelling of NaN and infinity, and none inside strings", () => {
    expect(one("FP64", "NaN, -NaN, Infinity, -Infinity, Inf, -Inf, 1E2, 0E1, 1e3")).toEqual([
      Number.NaN,
      Number.NaN,
      Infinity,
      -Infinity,
      Infinity,
      -Infinity,
      100,
      0,
      1000,
    ]);
    const { request } = read(
      [
        { name: "s", datatype: "BYTES", shape: [-1] },
        { name: "x", datatype: "FP32", shape: [-1] },
      ],
      '{"inputs": {"s": ["NaN \\" Infinity E", "\\\\"], "x": [NaN]}}',
    );
    expect(request.inputs[0]!.data).toEqual(['NaN " Infinity E', "\\"]);
    // Other broken JSON is refused where it is broken, tokens before it or not.
    expect(refusal(() => one("FP32", "NaN, nix")).message).toContain("position 21");
    expect(refusal(() => one("FP32", "NaN, 1e999")).message).toContain("1e999 is too large");
    expect(refusal(() => one("FP32", "NaNs")).message).toContain("not JSON");
  });

  test("does not allocate for lists that are not there, nor overflow the stack on deep ones", () => {
    const wide = `[${"0,".repeat(9_999)}0]`;
    const ragged = `[${wide}${",[]".repeat(9_999)}]`;
    expect(refusal(() => one("FP64", `${ragged}${",[]".repeat(9_999)}`)).message).toContain(
      "instances[0][1]",
    );
    for (const levels of [50, 100_000]) {
      const deep = "[".repeat(levels) + "]".repeat(levels);
      expect(errorType(refusal(() => one("FP32", deep)))).toMatch(/INVALID_INPUT|MALFORMED_BODY/);
      expect(errorType(refusal(() => one("FP32", `${deep}, NaN`)))).toMatch(/INVALID_INPUT|MALFORMED_BODY/);
    }
  });

  test("takes no name from what objects inherit", () => {
    const inputs: TensorSpec[] = [
      { name: "constructor", datatype: "FP32", shape: [-1] },
      { name: "__proto__", datatype: "FP32", shape: [-1] },
    ];
    expect(refusal(() => read(inputs, '{"instances": [{}]}')).message).toContain("no keys");
    expect(refusal(() => read(inputs, '{"inputs": {}}')).message).toContain("no keys");
    const { request } = read(inputs, '{"instances": [{"constructor": 1, "__proto__": 2}]}');
    expect(request.inputs.map(({ data }) => Array.from(data as Float32Array))).toEqual([[1], [2]]);
  });
});

describe("a predict answer", () => {
  test("writes floats in lists as it writes each alone", () => {
    const random = randomStream(3);
    const values = Array.from({ length: 30_000 }, (_, i) => (random() - 0.5) * 10 ** ((i % 20) - 9));
    const whole = [0, -0, 1, -7, 1e6, 9_999_999, 1e7, 16_777_216, 1e21, 3.4028235e38];
    const data = Float32Array.of(...whole, 9.99999, 0.1, Number.NaN, 1 / 0, -1 / 0, ...values);
    const list = print([{ name: "y", datatype: "FP32", shape: [data.length], data }], "columns");
    const printed = list.slice('{"outputs":['.length, -2).split(",");
    expect(printed).toHaveLength(data.length);
    for (const [i, value] of data.entries()) {
      const alone = printFloat32(value);
      // Between two equally near texts either will do.
      const same = printed[i]!.length === alone.length && Object.is(Math.fround(Number(printed[i])), value);
      if (printed[i] !== alone && !same) throw new Error(`${alone} is printed as ${printed[i]}`);
    }
  });

  test.each(RESPONSES)("prints $says as TensorFlow Serving does", ({ outputs, rows, columns }) => {
    if (rows !== undefined) expect(print(outputs, "rows")).toBe(rows);
    if (columns !== undefined) expect(print(outputs, "columns")).toBe(columns);
  });

  test("refuses rows of outputs that do not count the same rows, and of scalars", () => {
    const scores: Tensor = { name: "a", datatype: "INT32", shape: [2], data: Int32Array.of(1, 2) };
    const total: Tensor = { name: "b", datatype: "BYTES", shape: [], data: ["x"] };
    const other: Tensor = { name: "b", datatype: "INT32", shape: [1], data: Int32Array.of(1) };
    expect(() => print([scores, other], "rows")).toThrow("a[2], b[1]");
    expect(() => print([scores, total], "rows")).toThrow("ask with 'inputs'");
    expect(print([scores, total], "columns")).toBe('{"outputs":{"a":[1,2],"b":"x"}}');
  });

  test("prints integers to the last digit, and refuses what JSON has no form for", () => {
    const data = BigInt64Array.of(2n ** 63n - 1n, -1n);
    expect(print([{ name: "x", datatype: "INT64", shape: [2], data }], "rows")).toBe(
      '{"predictions":[9223372036854775807,-1]}',
    );
    const flags: Tensor = { name: "x", datatype: "BOOL", shape: [2], data: Uint8Array.of(1, 0) };
    expect(print([flags], "rows")).toBe('{"predictions":[true,false]}');
    const half: Tensor = { name: "x", datatype: "FP16", shape: [1], data: Uint16Array.of(0) };
    expect(() => print([half], "rows")).toThrow("FP16");
  });

  test("prints FP64 so that it reads back as it was", () => {
    const data = Float64Array.of(0.1 + 0.2, 1e21, -0, 5e-324, 123456789012345680);
    const text = print([{ name: "x", datatype: "FP64", shape: [5], data }], "columns");
    expect(text).toBe('{"outputs":[0.30000000000000004,1e+21,-0.0,5e-324,123456789012345680.0]}');
  });
});
