/** The file format against the Python safetensors package, and every way in which a file can be wrong. */

import { InvalidModelError } from "../errors.ts";
import { type NamedArrays, readSafetensors, writeSafetensors } from "./safetensors.ts";

/** Written by safetensors.numpy.save, version 0.8.0. */
const PUBLISHED = Buffer.from(
  "KAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJub3RlIjoiZsO8ciIsImZvcm1hdCI6InB0In0sImJpYXMiOnsiZHR5cGUiOiJGMzIi" +
    "LCJzaGFwZSI6WzNdLCJkYXRhX29mZnNldHMiOlswLDEyXX0sImNvbnYva2VybmVsIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlsy" +
    "LDJdLCJkYXRhX29mZnNldHMiOlsxMiwyOF19LCJub25lIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlswLDNdLCJkYXRhX29mZnNl" +
    "dHMiOlsyOCwyOF19LCJzY2FsYXIiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6W10sImRhdGFfb2Zmc2V0cyI6WzI4LDMyXX19ICAg" +
    "ICAgIM3MzD0AAACAAACAfwAAwD8AABDAsA+hNCC8vk0AAOBA",
  "base64",
);

const CONTENT: NamedArrays = new Map([
  ["bias", { shape: [3], data: Float32Array.of(0.1, -0, Number.POSITIVE_INFINITY) }],
  ["conv/kernel", { shape: [2, 2], data: Float32Array.of(1.5, -2.25, 3e-7, 4e8) }],
  ["none", { shape: [0, 3], data: new Float32Array(0) }],
  ["scalar", { shape: [], data: Float32Array.of(7) }],
]);

/** A file with the given header and so many bytes of data. */
function file(header: unknown, dataBytes = 0, text = JSON.stringify(header)): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  const bytes = new Uint8Array(8 + encoded.byteLength + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(encoded.byteLength), true);
  bytes.set(encoded, 8);
  return bytes;
}

const f32 = (shape: unknown, begin: unknown, end: unknown) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

function refusal(bytes: Uint8Array): string {
  try {
    readSafetensors(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidModelError);
    return (error as Error).message;
  }
  throw new Error("The file was accepted");
}

describe("safetensors", () => {
  test("a file of the published package is read to the bit", () => {
    const { tensors, metadata } = readSafetensors(PUBLISHED);
    expect(tensors).toEqual(CONTENT);
    expect(Object.is(tensors.get("bias")!.data[1], -0)).toBe(true);
    expect(metadata).toEqual({ format: "pt", note: "für" });
  });

  test("the same content is written byte for byte as the published package writes it", () => {
    expect(Buffer.from(writeSafetensors(CONTENT, { note: "für", format: "pt" }))).toEqual(PUBLISHED);
  });

  test("what is written reads the same, from any place in a larger buffer", () => {
    const written = writeSafetensors(CONTENT, {});
    for (const offset of [0, 1, 3, 8]) {
      const pool = Buffer.alloc(written.byteLength + 20, 0xff);
      pool.set(written, offset);
      const { tensors } = readSafetensors(pool.subarray(offset, offset + written.byteLength));
      expect(tensors).toEqual(CONTENT);
      pool.fill(0);
      expect(tensors).toEqual(CONTENT);
    }
  });

  test("views into a larger array are written as what they show", () => {
    const data = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const written = writeSafetensors(new Map([["a", { shape: [2], data }]]), {});
    expect(readSafetensors(written).tensors.get("a")!.data).toEqual(Float32Array.of(1, 2));
  });

  test("the data begins at a multiple of eight bytes, whatever the names", () => {
    for (let length = 1; length <= 8; length++) {
      const written = writeSafetensors(
        new Map([["é".repeat(length), { shape: [1], data: Float32Array.of(1) }]]),
        {},
      );
      expect(Number(new DataView(written.buffer).getBigUint64(0, true)) % 8).toBe(0);
      expect(readSafetensors(written).tensors.size).toBe(1);
    }
  });

  test("names that mean something to JavaScript are ordinary names", () => {
    const names = ["__proto__", "constructor", "10", "2"];
    const tensors: NamedArrays = new Map(
      names.map((name, i) => [name, { shape: [1], data: Float32Array.of(i) }]),
    );
    const read = readSafetensors(writeSafetensors(tensors, {})).tensors;
    for (const [i, name] of names.entries()) expect(read.get(name)?.data[0]).toBe(i);
  });

  test("a file cut anywhere is refused", () => {
    for (let length = 0; length < PUBLISHED.byteLength; length++) refusal(PUBLISHED.subarray(0, length));
    expect(refusal(PUBLISHED.subarray(0, 5))).toContain("5 bytes are too few");
    expect(refusal(PUBLISHED.subarray(0, 100))).toContain("longer than the file");
    expect(refusal(PUBLISHED.subarray(0, -1))).toContain("bytes of data");
  });

  test("bytes after the last tensor are refused", () => {
    expect(refusal(Buffer.concat([PUBLISHED, Buffer.alloc(1)]))).toContain("33 bytes of data, expected 32");
  });

  test("a header that claims to be huge is refused before anything is read", () => {
    for (const claimed of [100_000_001n, 2n ** 53n, 2n ** 64n - 1n]) {
      const bytes = new Uint8Array(64);
      new DataView(bytes.buffer).setBigUint64(0, claimed, true);
      expect(refusal(bytes)).toContain("longer than");
    }
  });

  test.each([
    ["not JSON", file(undefined, 0, "{nope"), "is not JSON"],
    ["empty", file(undefined, 0, ""), "is not JSON"],
    ["not UTF-8", file(undefined, 0, "{}").fill(0xff, 8), "is not JSON"],
    ["null", file(null), "is not a JSON object"],
    ["an array", file([]), "is not a JSON object"],
    ["a number", file(7), "is not a JSON object"],
    ["with metadata that is no record", file({ __metadata__: [] }), "__metadata__"],
    ["with metadata that is no text", file({ __metadata__: { step: 3 } }), "__metadata__"],
  ])("a header that is %s is refused", (_, bytes, reason) => {
    expect(refusal(bytes)).toContain(reason);
  });

  test.each<[string, unknown]>([
    ["null", null],
    ["a text", "F32"],
    ["of another type", { dtype: "F16", shape: [2], data_offsets: [0, 4] }],
    ["without a shape", { dtype: "F32", data_offsets: [0, 4] }],
    ["without data", { dtype: "F32", shape: [1] }],
    ["with one offset", { dtype: "F32", shape: [1], data_offsets: [0] }],
    ["with three offsets", { dtype: "F32", shape: [1], data_offsets: [0, 4, 4] }],
    ["of negative size", f32([-1, -1], 0, 4)],
    ["of broken size", f32([0.5, 2], 0, 4)],
    ["with sizes as text", f32(["1"], 0, 4)],
    ["before the data", f32([1], -4, 0)],
    ["that ends before it begins", f32([1], 4, 0)],
    ["with less data than its shape", f32([2], 0, 4)],
    ["with more data than its shape", f32([1], 0, 8)],
    ["beyond the file", f32([1], 4, 8)],
    ["of absurd size", f32([2 ** 40, 2 ** 40], 0, 4)],
  ])("a tensor that is %s is refused by name", (_, entry) => {
    expect(refusal(file({ weight: entry }, 4))).toContain("tensor 'weight'");
  });

  test("overlapping tensors are refused, and gaps between them", () => {
    expect(refusal(file({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12))).toContain(
      "tensor 'b' begins at byte 4",
    );
    expect(refusal(file({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4))).toContain("begins at byte 0");
    expect(refusal(file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12))).toContain(
      "tensor 'b' begins at byte 8",
    );
  });

  test("tensors may be listed in any order", () => {
    const bytes = file({ second: f32([1], 4, 8), first: f32([1], 0, 4) }, 8);
    new DataView(bytes.buffer).setFloat32(bytes.byteLength - 4, 2, true);
    expect(readSafetensors(bytes).tensors.get("second")!.data[0]).toBe(2);
  });
});
