import { copyFile, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema, TensorProto_DataLocation } from "onnx-buf";
import { openStore } from "../store/open-store.ts";
import { importModel as takeIn } from "./folder-watch.ts";
import type { ImportTask } from "./import-task.ts";

const KINDS = fileURLToPath(new URL("../../test/fixtures/onnx-kinds", import.meta.url));

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-import-"));
  path = join(directory, "model.onnx");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const store = () => ({ kind: "files" as const, directory: join(directory, "store") });
const importModel = (task: Partial<ImportTask> = {}) =>
  takeIn(
    { store: store(), path, declared: undefined, publishedDigest: undefined, ...task },
    new AbortController().signal,
  );

async function stored(): Promise<number> {
  const opened = await openStore(store());
  const count = (await opened.artifacts.list()).length;
  await opened.close();
  return count;
}

/** A file of that many bytes that takes no room. */
async function sparse(file: string, bytes: number): Promise<void> {
  const handle = await open(file, "w");
  await handle.truncate(bytes);
  await handle.close();
}

test("a model with external data becomes one file, the same each time, with its signature", async () => {
  await copyFile(join(KINDS, "external-data/1/model.onnx"), path);
  await copyFile(join(KINDS, "external-data/1/weights.bin"), join(directory, "weights.bin"));
  const first = await importModel();
  expect(first.signature).toEqual({
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 4] }],
    outputs: [{ name: "y", datatype: "FP32", shape: [-1, 4] }],
  });
  expect(first.onnx.size).toBeGreaterThan(80);
  expect(await importModel({ publishedDigest: first.onnx.digest })).toEqual({
    onnx: first.onnx,
    signature: undefined,
  });
  expect(await stored()).toBe(1);
});

test("what will not be served is not stored", async () => {
  await copyFile(join(KINDS, "strings/1/model.onnx"), path);
  const declared = {
    inputs: [{ name: "a", dataType: "TYPE_FP32", dims: undefined }],
    outputs: [],
    batched: false,
  };
  await expect(importModel({ declared })).rejects.toMatchObject({
    type: "INVALID_INPUT",
    message: expect.stringContaining("data_type"),
  });
  await copyFile(join(KINDS, "unknown-operator/1/model.onnx"), path);
  await expect(importModel()).rejects.toMatchObject({ type: "INVALID_MODEL" });
  await writeFile(path, "");
  await expect(importModel()).rejects.toMatchObject({ type: "INVALID_MODEL" });
  await rm(path);
  await expect(importModel()).rejects.toMatchObject({ message: expect.stringContaining("cannot be read") });
  await expect(stored()).resolves.toBe(0);
});

test("more than 2 GiB is refused before it is read, with external data too", async () => {
  await sparse(path, 2 ** 31);
  await expect(importModel()).rejects.toMatchObject({ message: expect.stringContaining("exceeds 2 GiB") });
  const tensor = (name: string) => ({
    name,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [{ key: "location", value: "big.bin" }],
  });
  await sparse(join(directory, "big.bin"), 2 ** 31);
  const graph = { initializer: [tensor("w")], output: [] };
  await writeFile(path, toBinary(ModelProtoSchema, create(ModelProtoSchema, { graph })));
  await expect(importModel()).rejects.toMatchObject({ message: expect.stringContaining("exceeds 2 GiB") });
});
