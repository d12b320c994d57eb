import type { PredictResponse } from "../protocol/inference.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { printInferResponse } from "./infer-response.ts";
import { printFloat32, shortFloat32 } from "./number-text.ts";

const responseOf = (...outputs: Tensor[]): PredictResponse => ({
  model: "m",
  version: "2",
  outputs,
  cached: false,
});

describe("printInferResponse", () => {
  test("prints every datatype that JSON can carry", () => {
    const { json: text, binary } = printInferResponse(
      responseOf(
        { name: "f", datatype: "FP32", shape: [1, 2], data: new Float32Array([0.1, 1e-30]) },
        { name: "d", datatype: "FP64", shape: [1], data: new Float64Array([0.1]) },
        { name: "n", datatype: "INT64", shape: [1], data: new BigInt64Array([2n ** 62n + 1n]) },
        { name: "b", datatype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) },
        { name: "s", datatype: "BYTES", shape: [1], data: ['"é'] },
        { name: "none", datatype: "UINT8", shape: [0], data: new Uint8Array(0) },
      ),
      "id-1",
    );
    expect(binary).toEqual([]);
    expect(text).toContain("4611686018427387905");
    const { outputs, ...head } = JSON.parse(text) as { outputs: { data: unknown }[] };
    expect(head).toEqual({ model_name: "m", model_version: "2", id: "id-1" });
    expect(outputs.map(({ data }) => data)).toEqual([
      [0.1, Math.fround(1e-30)],
      [0.1],
      [2 ** 62],
      [true, false],
      ['"é'],
      [],
    ]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("refuses an output that is %s, naming it", (value) => {
    const output: Tensor = { name: "p", datatype: "FP32", shape: [2], data: new Float32Array([0, value]) };
    expect(() => printInferResponse(responseOf(output))).toThrow(`output 'p' is ${value} at index 1`);
  });

  test("names what answered the steps of an ensemble", () => {
    const { json } = printInferResponse({ ...responseOf(), steps: { one: "m/1", "two.b": "n/12" } }, "7");
    expect(JSON.parse(json)).toEqual({
      model_name: "m",
      model_version: "2",
      id: "7",
      parameters: { "step.one": "m/1", "step.two.b": "n/12" },
      outputs: [],
    });
  });

  test("appends binary data in the order of the outputs, as views of them", () => {
    const h = new Uint16Array([0x3c00, 0x7c00]);
    const outputs: Tensor[] = [
      { name: "nan", datatype: "FP32", shape: [1], data: new Float32Array([Number.NaN]) },
      { name: "n", datatype: "INT32", shape: [1], data: new Int32Array([7]) },
      { name: "h", datatype: "FP16", shape: [1, 2], data: h },
      { name: "none", datatype: "UINT8", shape: [0], data: new Uint8Array(0) },
    ];
    const form = { binary: true, outputs: [{ name: "n", binary: false, classes: 0 }] };
    const { json, binary } = printInferResponse(responseOf(...outputs), undefined, form);
    expect((JSON.parse(json) as { outputs: unknown }).outputs).toEqual([
      { name: "nan", datatype: "FP32", shape: [1], parameters: { binary_data_size: 4 } },
      { name: "n", datatype: "INT32", shape: [1], data: [7] },
      { name: "h", datatype: "FP16", shape: [1, 2], parameters: { binary_data_size: 4 } },
      { name: "none", datatype: "UINT8", shape: [0], parameters: { binary_data_size: 0 } },
    ]);
    expect(Buffer.concat(binary).toString("hex")).toBe("0000c07f003c007c");
    expect(binary[1]!.buffer).toBe(h.buffer);
  });

  test("refuses half precision, which has no JSON form", () => {
    const output: Tensor = { name: "h", datatype: "FP16", shape: [1], data: new Uint16Array(1) };
    expect(() => printInferResponse(responseOf(output))).toThrow('Invalid outputs["h"]');
  });
});

describe("shortFloat32", () => {
  test("gives a text that reads back as the same float32, and is short for ordinary numbers", () => {
    const bits = new Uint32Array(1);
    const float = new Float32Array(bits.buffer);
    let state = 1;
    for (let i = 0; i < 200_000; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bits[0] = state;
      const value = float[0]!;
      if (!Number.isFinite(value)) continue;
      const text = String(shortFloat32(value));
      if (Math.fround(Number(text)) !== value) throw new Error(`${value} became ${text}`);
      const ordinary = Math.abs(value) >= 1e-6 && Math.abs(value) < 1e6;
      // 9 digits, a sign, a point, and the zeros after it.
      if (ordinary && text.length > 18) throw new Error(`${value} is printed as ${text}`);
    }
    expect(String(shortFloat32(Math.fround(0.1)))).toBe("0.1");
    expect(String(shortFloat32(0))).toBe("0");
  });
});

describe("printFloat32", () => {
  test("prints JSON that reads back as the same floats, as short as each alone", () => {
    const edges = [0, -0, 1, -1, 10, 1e6, 9_999_999, 1e7, 16_777_216, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6];
    const beyond = [9.999999e-7, 0.99999994, 9.999999, 99_999.99, 3.4028235e38, -1.17549435e-38, 1e-45];
    let state = 7;
    const float = new Float32Array(1);
    const bits = new Uint32Array(float.buffer);
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      bits[0] = state;
      return Number.isFinite(float[0]) ? float[0]! : 0;
    };
    // Most floats lie where an exponent is written: as many where none is.
    const scaled = Array.from({ length: 50_000 }, (_, i) => ((next() % 1) + 0.5) * 10 ** ((i % 14) - 6));
    const data = Float32Array.from([...edges, ...beyond, ...scaled, ...Array.from({ length: 50_000 }, next)]);
    const text = printFloat32(data);
    const read = JSON.parse(text) as number[];
    expect(read).toHaveLength(data.length);
    const printed = text.slice(1, -1).split(",");
    for (const [i, value] of data.entries()) {
      if (Math.fround(read[i]!) !== value) throw new Error(`${value} became ${printed[i]}`);
      const alone = String(shortFloat32(value));
      if (printed[i]!.length !== alone.length) throw new Error(`${alone} is printed as ${printed[i]}`);
    }
    expect(printFloat32(data, 2, 5)).toBe("[1,-1,10]");
    expect(printFloat32(data, 3, 3)).toBe("[]");
    const style = { digits: 6, whole: ".0", other: String };
    const few = Float32Array.of(9.99999, 0.1, 0, -0, 3, -1e9, Number.NaN, 123_456.5, 1_817_605.6);
    expect(printFloat32(few, 0, 9, style)).toBe("[9.99999,0.1,0,0,3.0,-1000000000,NaN,123456.5,1817605.6]");
  });
});
