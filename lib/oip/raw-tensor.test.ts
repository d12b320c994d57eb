import { InvalidInputError } from "../errors.ts";
import { DATATYPES, type Datatype, type NumericArray, type TensorData } from "../tensor/datatype.ts";
import { decodeRaw, encodeRaw } from "./raw-tensor.ts";

/** Elements and their bytes as NumPy (`tobytes()`) and tritonclient (`serialize_byte_tensor`) write them. */
const WRITTEN: Readonly<Record<Datatype, readonly [TensorData, string]>> = {
  BOOL: [new Uint8Array([1, 0, 1]), "010001"],
  UINT8: [new Uint8Array([0, 255]), "00ff"],
  UINT16: [new Uint16Array([1, 65535]), "0100ffff"],
  UINT32: [new Uint32Array([1, 4294967295]), "01000000ffffffff"],
  UINT64: [new BigUint64Array([1n, 2n ** 64n - 1n]), "0100000000000000ffffffffffffffff"],
  INT8: [new Int8Array([1, -128]), "0180"],
  INT16: [new Int16Array([1, -32768]), "01000080"],
  INT32: [new Int32Array([1, -2147483648]), "0100000000000080"],
  INT64: [new BigInt64Array([2n ** 53n + 1n, -(2n ** 63n)]), "01000000000020000000000000000080"],
  FP16: [new Uint16Array([0x3c00, 0xc000]), "003c00c0"],
  BF16: [new Uint16Array([0x3f80]), "803f"],
  FP32: [new Float32Array([1, -2]), "0000803f000000c0"],
  FP64: [new Float64Array([1]), "000000000000f03f"],
  BYTES: [["", "é", "a\0b"], "0000000002000000c3a903000000610062"],
};

/** The bytes, `offset` bytes into a buffer. */
function placed(hex: string, offset: number): Uint8Array {
  const bytes = Buffer.from(hex, "hex");
  const whole = new Uint8Array(bytes.length + offset + 3).fill(0xee);
  whole.set(bytes, offset);
  return whole.subarray(offset, offset + bytes.length);
}

describe.each(DATATYPES)("%s", (datatype) => {
  const [data, hex] = WRITTEN[datatype];

  test("is read from any offset and written as others do", () => {
    for (const offset of [0, 1, 2, 4, 8])
      expect(decodeRaw(datatype, data.length, placed(hex, offset), "x")).toEqual(data);
    expect(Buffer.from(encodeRaw({ data })).toString("hex")).toBe(hex);
  });

  test("is refused when a byte is missing or too many", () => {
    for (const wrong of [hex.slice(0, -2), `${hex}00`, ""])
      expect(() => decodeRaw(datatype, data.length, placed(wrong, 0), "inputs.x")).toThrow(InvalidInputError);
    expect(decodeRaw(datatype, 0, new Uint8Array(0), "x")).toHaveLength(0);
  });

  test("is refused for more elements than fit in a message, at once", () => {
    for (const elements of [2 ** 40, 2 ** 80, Number.POSITIVE_INFINITY])
      expect(() => decodeRaw(datatype, elements, placed(hex, 0), "x")).toThrow(InvalidInputError);
  });
});

test("aligned numbers are views of the message, and written ones views of the tensor", () => {
  const message = placed("0000803f000000c0", 8);
  const data = decodeRaw("FP32", 2, message, "x") as NumericArray;
  expect(data.buffer).toBe(message.buffer);
  expect(encodeRaw({ data }).buffer).toBe(message.buffer);
  expect((decodeRaw("FP32", 2, placed("0000803f000000c0", 6), "x") as NumericArray).byteOffset).toBe(0);
});

test("strings that end too early, claim too much or are not UTF-8 are refused by index", () => {
  const refusal = (elements: number, hex: string) => () =>
    decodeRaw("BYTES", elements, placed(hex, 1), "inputs.x");
  expect(refusal(2, "01000000610200000061")).toThrow(
    "Invalid inputs.x[1]: received a length of 2, expected at most the 1 bytes that are left",
  );
  expect(refusal(2, "0500000061626364650000")).toThrow("Invalid inputs.x[1]: received 2 bytes");
  expect(refusal(1, "ffffffff")).toThrow("received a length of 4294967295");
  expect(refusal(1, "01000000ff")).toThrow("1 bytes that are not UTF-8");
  expect(refusal(1, "0000000000")).toThrow("received 5 bytes, expected 4 bytes, where its 1 elements end");
});
