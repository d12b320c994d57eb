import { InvalidInputError } from "../errors.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { parseRawRequest } from "./raw-request.ts";

const spec = (datatype: TensorSpec["datatype"], ...shape: number[]): TensorSpec => ({
  name: "x",
  datatype,
  shape,
});
const inputOf = (body: Buffer, ...inputs: TensorSpec[]) =>
  parseRawRequest(body, { model: "m", inputs }).request.inputs[0];

describe("parseRawRequest", () => {
  test("takes the body as the only input, batch 1, and wants all outputs as binary data", () => {
    const body = Buffer.from(new Float32Array([1, 2, 3]).buffer);
    expect(parseRawRequest(body, { model: "m", inputs: [spec("FP32", -1, 3)] }, "2")).toEqual({
      request: {
        model: "m",
        version: "2",
        inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: new Float32Array([1, 2, 3]) }],
      },
      parameters: {},
      form: { binary: true, outputs: [] },
    });
  });

  test("deduces one free dimension from the length", () => {
    expect(inputOf(Buffer.alloc(24), spec("FP32", -1, -1, 2))).toMatchObject({ shape: [1, 3, 2] });
    expect(inputOf(Buffer.alloc(6), spec("UINT8", 2, -1))).toMatchObject({ shape: [2, 3] });
  });

  test("takes a text as one element", () => {
    expect(inputOf(Buffer.from("né"), spec("BYTES", -1, 1))).toMatchObject({ shape: [1, 1], data: ["né"] });
    expect(inputOf(Buffer.from(""), spec("BYTES", -1))).toMatchObject({ shape: [1], data: [""] });
  });

  test.each([
    ["several inputs", [spec("FP32", -1), spec("FP32", -1)], 4, "model 'm' has 2 inputs"],
    [
      "several free dimensions",
      [spec("FP32", -1, -1, -1)],
      4,
      "only one dimension can follow from the length",
    ],
    ["several texts", [spec("BYTES", -1, 2)], 4, "the body can be one element only"],
    ["another length", [spec("FP32", -1, 3)], 24, "expected 12 bytes for 3 elements of FP32"],
    ["a length between two sizes", [spec("FP32", -1, -1)], 6, "received 6 bytes, expected 4 bytes"],
    ["a length for a size of 0", [spec("FP32", -1, -1, 0)], 8, "received 8 bytes"],
  ])("refuses %s", (_, inputs, bytes, message) => {
    const refused = () => inputOf(Buffer.alloc(bytes), ...inputs);
    expect(refused).toThrow(InvalidInputError);
    expect(refused).toThrow(message);
  });
});
