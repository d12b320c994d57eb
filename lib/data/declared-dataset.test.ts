/** Data sets of named columns: what their declaration says, what is refused, and that files read as memory does. */

import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatasetCorruptError, DatasetNotFoundError } from "../errors.ts";
import type { Datatype, NumericArray } from "../tensor/datatype.ts";
import { datasetFolder, findDatasetFiles, loadDataset, loadTestExamples } from "./datasets.ts";
import { type Column, rowRange, rowsOf } from "./examples.ts";
import { encodeNpy, type NpyArray } from "./npy.ts";
import { type DatasetColumns, writeDataset } from "./write-dataset.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "columns-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const array = (datatype: Datatype, shape: number[], data: NumericArray): NpyArray => ({
  datatype,
  shape,
  data,
});
const floats = (shape: number[], ...values: number[]) => array("FP32", shape, Float32Array.from(values));
const bytes = (...values: number[]) => array("UINT8", [values.length], Uint8Array.from(values));

/** Writes a folder by hand. */
async function folder(name: string, declaration: unknown, files: Record<string, NpyArray>): Promise<void> {
  await mkdir(join(root, name), { recursive: true });
  const text = typeof declaration === "string" ? declaration : JSON.stringify(declaration);
  await writeFile(join(root, name, "dataset.json"), text);
  for (const [file, values] of Object.entries(files))
    await writeFile(join(root, name, file), encodeNpy(values));
}

async function fault(name: string): Promise<{ file: string; received: string; expected: string }> {
  const error = await loadDataset(name, root).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(DatasetCorruptError);
  return (error as DatasetCorruptError).data as Awaited<ReturnType<typeof fault>>;
}

const all = (column: Column, count: number) => [...(rowsOf(column, rowRange(0, count)) as Float32Array)];

const COLUMNS: DatasetColumns = {
  inputs: {
    "two by two": {
      train: floats([3, 2, 2], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
      test: floats([1, 2, 2], 0, 0, 0, 1),
    },
    more: {
      train: array("INT32", [3], Int32Array.of(7, -8, 9)),
      test: array("INT32", [1], Int32Array.of(5)),
    },
  },
  targets: {
    kind: { train: bytes(0, 2, 1), test: bytes(1), labelNames: ["a", "b", "c"] },
    size: {
      train: array("FP64", [3, 1], Float64Array.of(0.1, 0.2, 0.3)),
      test: array("FP64", [1, 1], Float64Array.of(0.4)),
    },
  },
  weights: { train: floats([3], 1, 0, 2.5), test: floats([1], 1) },
};

describe("a written data set", () => {
  beforeAll(() => writeDataset(join(root, "whole"), COLUMNS));

  test.each([
    ["memory", undefined],
    ["files", 0],
    ["both", 20],
  ])("is read column by column from %s", async (_, maxMemoryBytes) => {
    const dataset = await loadDataset("whole", root, maxMemoryBytes);
    const { train, test: tests } = dataset;
    expect(dataset.name).toBe("whole");
    expect([train.count, tests.count]).toEqual([3, 1]);
    expect(train.inputs).toMatchObject([
      { name: "two by two", shape: [2, 2], datatype: "FP32" },
      { name: "more", shape: [], datatype: "INT32" },
    ]);
    expect(train.targets).toMatchObject([
      { name: "kind", shape: [], datatype: "UINT8", labelNames: ["a", "b", "c"] },
      { name: "size", shape: [1], datatype: "FP64" },
    ]);
    expect(train.targets[1]).not.toHaveProperty("labelNames");
    expect(all(train.inputs[0]!, 3)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect(all(train.inputs[1]!, 3)).toEqual([7, -8, 9]);
    expect(all(train.targets[1]!, 3)).toEqual([0.1, 0.2, 0.3]);
    expect(all(train.weights!, 3)).toEqual([1, 0, 2.5]);
    expect(all(tests.inputs[0]!, 1)).toEqual([0, 0, 0, 1]);
    expect(all(tests.targets[0]!, 1)).toEqual([1]);
    expect([...rowsOf(train.inputs[0]!, Uint32Array.of(2, 0, 1, 1))]).toEqual([
      9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8,
    ]);
    await dataset.close();
  });

  test("has one digest, whether it is read from memory or files, and another with any other byte", async () => {
    const digest = async (name: string, maxMemoryBytes?: number) => {
      const dataset = await loadDataset(name, root, maxMemoryBytes);
      await dataset.close();
      return dataset.digest;
    };
    const first = await digest("whole");
    expect(first).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await digest("whole", 0)).toBe(first);
    await writeDataset(join(root, "copy"), COLUMNS);
    expect(await digest("copy")).toBe(first);
    await writeDataset(join(root, "copy"), {
      ...COLUMNS,
      weights: { train: floats([3], 1, 0, 2.25), test: floats([1], 1) },
    });
    expect(await digest("copy")).not.toBe(first);
  });

  test("gives its test examples alone, without looking into those for training", async () => {
    await writeDataset(join(root, "half"), COLUMNS);
    await writeFile(join(root, "half", "train-target-0.npy"), encodeNpy(bytes(0, 9, 1)));
    expect((await fault("half")).received).toBe("9 in row 1");
    const tests = await loadTestExamples("half", root);
    expect(all(tests.targets[0]!, 1)).toEqual([1]);
    await tests.close();
  });

  test("can have an input as its target, in one file", async () => {
    const image = { train: floats([2, 1], 1, 2), test: floats([1, 1], 3) };
    await writeDataset(join(root, "same"), { inputs: { image }, targets: { image } });
    const { train, close } = await loadDataset("same", root);
    expect(all(train.targets[0]!, 2)).toEqual([1, 2]);
    await close();
    const files = await findDatasetFiles("same", datasetFolder("same", root));
    expect(files.map((file) => file.slice(root.length + 6))).toEqual([
      "train-input-0.npy",
      "test-input-0.npy",
    ]);
  });

  test("keeps columns of any name", async () => {
    const digit = { train: floats([2], 1, 2), test: floats([1], 3) };
    const named = (...names: string[]) => Object.fromEntries(names.map((name) => [name, digit]));
    await writeDataset(join(root, "names"), {
      inputs: named("__proto__", "constructor"),
      targets: named("__proto__"),
    });
    const { train, close } = await loadDataset("names", root);
    expect(train.inputs.map(({ name }) => name)).toEqual(["__proto__", "constructor"]);
    expect(train.targets.map(({ name }) => name)).toEqual(["__proto__"]);
    await close();
  });

  test("is replaced as a whole, and not at all by arrays that are none", async () => {
    const wrong = { image: { train: floats([2], 1), test: floats([1], 1) } };
    const where = join(root, "kept");
    await writeDataset(where, COLUMNS);
    await expect(writeDataset(where, { inputs: wrong, targets: wrong })).rejects.toThrow(RangeError);
    const dataset = await loadDataset("kept", root);
    expect(dataset.train.count).toBe(3);
    await dataset.close();
  });
});

describe("one file for training and test", () => {
  const declaration = {
    inputs: { x: { file: "x.npy" } },
    targets: { y: { file: "y.npy", labelNames: ["no", "yes"] } },
    rows: { train: [1, 4], test: [4, 6] },
  };
  const files = { "x.npy": floats([6, 1], 0, 1, 2, 3, 4, 5), "y.npy": bytes(0, 1, 0, 1, 0, 1) };

  test.each([undefined, 0])("is parted by rows (memory: %p bytes)", async (maxMemoryBytes) => {
    await folder("rows", declaration, files);
    const { train, test: tests, close } = await loadDataset("rows", root, maxMemoryBytes);
    expect([train.count, tests.count]).toEqual([3, 2]);
    expect(all(train.inputs[0]!, 3)).toEqual([1, 2, 3]);
    expect(all(train.targets[0]!, 3)).toEqual([1, 0, 1]);
    expect(all(tests.inputs[0]!, 2)).toEqual([4, 5]);
    await close();
  });

  test("must have the rows", async () => {
    await folder("few", { ...declaration, rows: { train: [0, 4], test: [4, 7] } }, files);
    expect(await fault("few")).toEqual({
      file: join(root, "few", "x.npy"),
      received: "6 rows",
      expected: "7 or more, as rows.test of inputs.x.file says",
    });
  });
});

describe("what cannot be trained on is refused by file and field", () => {
  const x = { train: "x.npy", test: "xt.npy" };
  const y = { train: "y.npy", test: "yt.npy" };
  const good = { inputs: { x }, targets: { y } };
  const files = {
    "x.npy": floats([2, 1], 1, 2),
    "xt.npy": floats([1, 1], 3),
    "y.npy": bytes(0, 1),
    "yt.npy": bytes(1),
  };

  test.each<[string, unknown, string, string]>([
    ["text", "{inputs", "Expected property name", "JSON"],
    ["a list", [], "the file: []", "an object"],
    [
      "a list deeper than can be shown",
      "[".repeat(9e4) + "]".repeat(9e4),
      "the file: data that lies",
      "an object",
    ],
    ["no inputs", { targets: { y } }, "inputs: nothing", "an object"],
    ["empty inputs", { inputs: {}, targets: { y } }, "inputs: none", "at least one"],
    ["empty targets", { inputs: { x }, targets: {} }, "targets: none", "at least one"],
    [
      "a field it does not have",
      { ...good, split: 0.1 },
      "the file.split: 0.1",
      "one of inputs, targets, weights, rows",
    ],
    [
      "a column's unknown field",
      { ...good, inputs: { x: { ...x, dtype: "f4" } } },
      "inputs.x.dtype: f4",
      "one of file, train, test",
    ],
    [
      "a column without test",
      { ...good, inputs: { x: { train: "x.npy" } } },
      "inputs.x.test: nothing",
      "the name of a file",
    ],
    [
      "a number for a file",
      { ...good, targets: { y: { ...y, train: 7 } } },
      "targets.y.train: 7",
      "an .npy file in the same folder",
    ],
    [
      "a path out of the folder",
      { ...good, targets: { y: { ...y, train: "../y.npy" } } },
      "targets.y.train: ../y.npy",
      "same folder",
    ],
    [
      "another kind of file",
      { ...good, targets: { y: { ...y, train: "y.csv" } } },
      "targets.y.train: y.csv",
      ".npy",
    ],
    [
      "names that are none",
      { ...good, targets: { y: { ...y, labelNames: [1] } } },
      "targets.y.labelNames: [1]",
      "names",
    ],
    [
      "no label names",
      { ...good, targets: { y: { ...y, labelNames: [] } } },
      "targets.y.labelNames: []",
      "names",
    ],
    [
      "one file and no rows",
      { ...good, inputs: { x: { file: "x.npy" } } },
      "rows: nothing",
      "inputs.x is one file",
    ],
    [
      "a file and parts",
      { ...good, inputs: { x: { ...x, file: "x.npy" } } },
      "inputs.x: both",
      "either file or train and test",
    ],
    [
      "rows the wrong way round",
      { ...good, rows: { train: [2, 1], test: [0, 1] } },
      "rows.train: [2,1]",
      "such as [0, 800]",
    ],
    [
      "rows that are no numbers",
      { ...good, rows: { train: [0, 1], test: "all" } },
      "rows.test: all",
      "such as [0, 800]",
    ],
  ])("a declaration with %s", async (_, declaration, received, expected) => {
    await folder("declared", declaration, files);
    const error = await fault("declared");
    expect(error.file).toBe(join(root, "declared", "dataset.json"));
    expect(error.received).toContain(received);
    expect(error.expected).toContain(expected);
  });

  test.each<[string, Partial<Record<string, NpyArray>>, unknown, string, string, string]>([
    [
      "counts that differ",
      { "y.npy": bytes(0, 1, 1) },
      good,
      "y.npy",
      "targets.y.train: 3 rows",
      "2 as inputs.x.train has",
    ],
    [
      "no examples",
      { "x.npy": floats([0, 1]), "y.npy": bytes() },
      good,
      "x.npy",
      "inputs.x.train: no examples",
      "at least one",
    ],
    [
      "test examples of another shape",
      { "xt.npy": floats([1, 2], 1, 2) },
      good,
      "xt.npy",
      "inputs.x.test: examples of FP32 [2]",
      "FP32 [1] as inputs.x.train has",
    ],
    [
      "test examples of another type",
      { "yt.npy": floats([1], 1) },
      good,
      "yt.npy",
      "targets.y.test: examples of FP32 []",
      "UINT8 []",
    ],
    ["a single number", { "x.npy": floats([], 1) }, good, "x.npy", "a single number", "an array of rows"],
    [
      "NaN in an input",
      { "x.npy": floats([2, 1], 1, Number.NaN) },
      good,
      "x.npy",
      "NaN in row 1",
      "finite numbers in inputs.x.train",
    ],
    [
      "an infinite test value",
      { "xt.npy": floats([1, 1], Number.NEGATIVE_INFINITY) },
      good,
      "xt.npy",
      "-Infinity in row 0",
      "inputs.x.test",
    ],
    [
      "NaN in a target",
      { "y.npy": floats([2], 1, Number.NaN), "yt.npy": floats([1], 1) },
      good,
      "y.npy",
      "NaN in row 1",
      "targets.y.train",
    ],
    [
      "a class beyond its names",
      { "y.npy": bytes(1, 2) },
      { ...good, targets: { y: { ...y, labelNames: ["a", "b"] } } },
      "y.npy",
      "2 in row 1",
      "0 to 1, one of the 2 labelNames of targets.y.train",
    ],
    [
      "a negative class of 64 bits",
      {
        "y.npy": array("INT64", [2], BigInt64Array.of(0n, -1n)),
        "yt.npy": array("INT64", [1], BigInt64Array.of(0n)),
      },
      { ...good, targets: { y: { ...y, labelNames: ["a", "b"] } } },
      "y.npy",
      "-1 in row 1",
      "0 to 1",
    ],
    [
      "classes that are not integers",
      { "y.npy": floats([2], 0, 1), "yt.npy": floats([1], 1) },
      { ...good, targets: { y: { ...y, labelNames: ["a", "b"] } } },
      "y.npy",
      "targets.y.train: FP32 []",
      "integers",
    ],
    [
      "weights that are integers",
      { "w.npy": bytes(1, 1) },
      { ...good, weights: { train: "w.npy" } },
      "w.npy",
      "weights.train: UINT8 []",
      "FP32 []",
    ],
    [
      "weights of another count",
      { "w.npy": floats([1], 1) },
      { ...good, weights: { train: "w.npy" } },
      "w.npy",
      "weights.train: 1 rows",
      "2 as inputs.x.train",
    ],
    [
      "a negative weight",
      { "w.npy": floats([2], 1, -1) },
      { ...good, weights: { train: "w.npy" } },
      "w.npy",
      "-1 in row 1",
      "from 0 on in weights.train",
    ],
  ])("%s", async (_, changed, declaration, file, received, expected) => {
    await folder("values", declaration, { ...files, ...(changed as Record<string, NpyArray>) });
    const error = await fault("values");
    expect(error.file).toBe(join(root, "values", file));
    expect(error.received).toContain(received);
    expect(error.expected).toContain(expected);
  });

  test("a file that is missing", async () => {
    await folder("gap", good, { "x.npy": files["x.npy"] });
    const find = findDatasetFiles("gap", datasetFolder("gap", root));
    await expect(find).rejects.toThrow(DatasetNotFoundError);
    await expect(findDatasetFiles("gap", join(root, "gap"))).rejects.toThrow("xt.npy, named in dataset.json");
    await expect(loadDataset("gap", root)).rejects.toThrow(DatasetNotFoundError);
  });

  test("a folder or a pipe where a file should be, at once", async () => {
    for (const [name, make] of [
      ["folder", (path: string) => mkdir(path)],
      ["pipe", async (path: string) => void execFileSync("mkfifo", [path])],
    ] as const) {
      await folder(name, good, files);
      await rm(join(root, name, "x.npy"));
      await make(join(root, name, "x.npy"));
      expect(await fault(name)).toMatchObject({
        file: join(root, name, "x.npy"),
        received: "no file of data",
      });
    }
  });

  test("a file that was cut, before it is read or while it is", async () => {
    await folder("cut", good, files);
    const { train, close } = await loadDataset("cut", root, 0);
    await truncate(join(root, "cut", "x.npy"), 132);
    expect(() => rowsOf(train.inputs[0]!, Uint32Array.of(1))).toThrow("became shorter while it was read");
    expect(rowsOf(train.inputs[0]!, Uint32Array.of(0))).toEqual(Float32Array.of(1));
    await close();
    expect(() => rowsOf(train.inputs[0]!, Uint32Array.of(0))).toThrow("was closed");
    expect(await fault("cut")).toMatchObject({
      received: "132 bytes",
      expected: "136 bytes for shape [2,1] of FP32",
    });
  });
});
