/** Data that need not fit into memory: trained on from its files, to the bit as from memory, in less memory than it has. */

import { mkdir, mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeNpy, npyHeader } from "../../lib/data/npy.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import { RandomStream } from "../../lib/random/stream.ts";
import { writeStripes } from "../fixtures/idx-dataset.ts";
import { runProgram } from "../fixtures/program.ts";
import { type ColumnsTrained, trainColumns } from "../fixtures/train-columns.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "large-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test.each(["idx", "columns"])(
  "training on %s gives the same weights from files as from memory",
  async (kind) => {
    if (kind === "idx") await writeStripes(directory, kind);
    else {
      const random = RandomStream.named(1, "values");
      const uniform = (count: number) => Float32Array.from({ length: count }, () => random.uniform() * 255);
      const labels = (count: number) => Int32Array.from({ length: count }, () => random.below(3));
      const part = (count: number) => ({
        x: { datatype: "FP32" as const, shape: [count, 5, 3], data: uniform(count * 15) },
        y: { datatype: "INT32" as const, shape: [count], data: labels(count) },
      });
      const [train, tests] = [part(301), part(20)];
      await writeDataset(join(directory, kind), {
        inputs: { x: { train: train.x, test: tests.x } },
        targets: { y: { train: train.y, test: tests.y, labelNames: ["a", "b", "c"] } },
      });
    }
    const fromMemory = await trainColumns(directory, kind, 2 ** 30, 2);
    expect(fromMemory.losses.every(Number.isFinite)).toBe(true);
    expect(await trainColumns(directory, kind, 0, 2)).toEqual(fromMemory);
  },
);

test("a data set larger than the memory of its process trains", async () => {
  const [rows, side] = [32_768, 128];
  const dataBytes = rows * side * side;
  const folder = join(directory, "large");
  await mkdir(folder);
  // Sparse: it reads as half a gigabyte but takes a few megabytes of disk.
  const images = await open(join(folder, "images.npy"), "w");
  const header = npyHeader("UINT8", [rows, side, side]);
  await images.write(header);
  await images.truncate(header.length + dataBytes);
  const labels = Uint8Array.from({ length: rows }, (_, row) => row % 2);
  for (let row = 1; row < rows; row += 2)
    await images.write(Buffer.alloc(512, 255), 0, 512, header.length + row * side * side);
  await images.close();
  await writeFile(join(folder, "labels.npy"), encodeNpy({ datatype: "UINT8", shape: [rows], data: labels }));
  const column = (file: string) => ({ file });
  const declaration = {
    inputs: { image: column("images.npy") },
    targets: { bright: { ...column("labels.npy"), labelNames: ["no", "yes"] } },
    rows: { train: [0, rows - 768], test: [rows - 768, rows] },
  };
  await writeFile(join(folder, "dataset.json"), JSON.stringify(declaration));

  const train = async (name: string, maxMemoryBytes: number) => {
    const args = ["test/fixtures/train-columns.ts", directory, name, String(maxMemoryBytes)];
    const program = runProgram(args, {});
    expect([await program.ended(600_000), program.stderr()]).toEqual([0, ""]);
    return JSON.parse(program.stdout()) as ColumnsTrained & { peakBytes: number };
  };
  const { peakBytes, ...trained } = await train("large", 2 ** 20);
  expect(trained.steps).toBe(((rows - 768) * 0.9) / 16);
  // It learned what only the images tell; chance is 0.69.
  expect(trained.losses[1]).toBeLessThan(0.3);
  // What Node and the runtime take by themselves is measured with next to no data.
  await writeStripes(directory, "small", { train: 64, test: 16 });
  const { peakBytes: baseBytes } = await train("small", 2 ** 20);
  expect(peakBytes - baseBytes).toBeLessThan(dataBytes / 2);
  // The same in memory shows that this measures what it should.
  const inMemory = await train("large", 2 ** 30);
  expect(inMemory).toEqual({ ...trained, peakBytes: inMemory.peakBytes });
  expect(inMemory.peakBytes - baseBytes).toBeGreaterThan(dataBytes * 0.9);
});
