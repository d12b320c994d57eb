import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { describeStore, rejection } from "../../test/contracts/store-contract.ts";
import { eventually } from "../../test/fixtures/eventually.ts";
import { FileKeyValueStore } from "./file-records.ts";
import { openStore } from "./open-store.ts";
import type { Store } from "./store.ts";

const directory = await mkdtemp(join(tmpdir(), "moiety-store-"));
afterAll(() => rm(directory, { recursive: true, force: true }));

describeStore("the file store", async () => {
  const store = await openStore({ kind: "files", directory: join(directory, "contract") });
  return { store, dispose: () => store.close() };
});

const fresh = (name: string): Promise<Store> =>
  openStore({ kind: "files", directory: join(directory, name) });

/** Adds one to `count`, `times` times, and prints how often it lost. Runs in threads and in processes. */
const incrementer = (location: string, times: number) => `
  import { openStore } from ${JSON.stringify(import.meta.resolve("./open-store.ts"))};
  const store = await openStore({ kind: "files", directory: ${JSON.stringify(location)} });
  for (let n = 0; n < ${times}; ) {
    const { value, revision } = await store.records.get("race/count");
    try {
      await store.records.update("race/count", value + 1, revision);
      n++;
    } catch (error) {
      if (error.type !== "REVISION_CONFLICT") throw error;
    }
  }
  await store.close();
`;

test("loses no write when several processes and worker threads race for one key", async () => {
  const location = join(directory, "race");
  const store = await fresh("race");
  await store.records.create("race/count", 0);
  const script = incrementer(location, 25);
  const processes = Array.from({ length: 3 }, async () => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
    expect((await once(child, "exit"))[0]).toBe(0);
  });
  const threads = Array.from({ length: 3 }, async () => {
    const url = new URL(`data:text/javascript,${encodeURIComponent(script)}`);
    expect((await once(new Worker(url), "exit"))[0]).toBe(0);
  });
  await Promise.all([...processes, ...threads]);
  expect(await store.records.get("race/count")).toMatchObject({ value: 150, revision: 151 });
  expect((await readdir(join(location, "records/keys/race/count="))).toSorted()).toEqual([
    "150.json",
    "151.json",
  ]);
  expect(await readdir(join(location, "records/tmp"))).toEqual([]);
  await store.close();
});

test("loses no record when a writer is killed at any moment", async () => {
  const location = join(directory, "killed");
  const store = await fresh("killed");
  await store.records.create("race/count", 0);
  const count = async () => (await store.records.get<number>("race/count"))!.value;
  for (let delayMs = 0; delayMs < 50; delayMs += 10) {
    const before = await count();
    const child = spawn(process.execPath, ["--input-type=module", "-e", incrementer(location, 1e6)]);
    const exited = once(child, "exit");
    await eventually(async () => (await count()) > before || undefined);
    await new Promise((resolve) => setTimeout(resolve, delayMs * Math.random()));
    child.kill("SIGKILL");
    await exited;
    const entry = (await store.records.get<number>("race/count"))!;
    expect(entry.revision).toBe(entry.value + 1);
    await store.records.update("race/count", entry.value + 1, entry.revision);
  }
  await store.close();
});

test("refuses a writer that slept since it looked, though the file name it wants is free again", async () => {
  const store = await fresh("stale");
  const first = await store.records.create("k", 1);
  let entry = await store.records.update("k", 2, first.revision);
  const folder = join(directory, "stale/records/keys/k=");
  const file = join(folder, "2.json");
  const content = await readFile(file);
  // A pipe in the place of the file: the writer has seen that revision 2 is the newest, and hangs reading it.
  await rm(file);
  await promisify(execFile)("mkfifo", [file]);
  const sleeper = rejection(store.records.update("k", "stale", 2));
  const pipe = await open(file, "w");
  await rm(file);
  await writeFile(file, content);
  for (let n = 3; n <= 6; n++) entry = await store.records.update("k", n, entry.revision);
  expect((await readdir(folder)).toSorted()).toEqual(["5.json", "6.json"]);
  await pipe.writeFile(content);
  await pipe.close();
  expect(await sleeper).toBe("REVISION_CONFLICT");
  expect(await store.records.get("k")).toEqual(entry);
  expect((await readdir(folder)).toSorted()).toEqual(["5.json", "6.json"]);
  await store.close();
});

test("notices an artifact whose bytes have changed, and can store it again", async () => {
  const store = await fresh("corrupt");
  const bytes = Buffer.from("the bytes of a model");
  const { digest } = await store.artifacts.put(bytes);
  const hex = digest.slice(7);
  const file = join(directory, "corrupt/artifacts/sha256", hex.slice(0, 2), hex);
  for (const damaged of ["THE bytes of a model", "the bytes"]) {
    await writeFile(file, damaged);
    await expect(store.artifacts.get(digest)).rejects.toMatchObject({
      type: "ARTIFACT_CORRUPT",
      data: { digest },
    });
  }
  await store.artifacts.put(bytes);
  expect(Buffer.from(await store.artifacts.get(digest))).toEqual(bytes);
  await store.close();
});

test("refuses to open where a file is in the way, or where nothing can be written, and says where", async () => {
  const blocked = join(directory, "blocked");
  await writeFile(blocked, "a file");
  await expect(openStore({ kind: "files", directory: blocked })).rejects.toMatchObject({
    type: "STORE_UNAVAILABLE",
    message: expect.stringContaining(blocked),
    data: { reason: expect.stringContaining("a file stands where a folder is needed") },
  });
  await mkdir(join(directory, "half"));
  await writeFile(join(directory, "half/records"), "a file");
  expect(await rejection(fresh("half"))).toBe("STORE_UNAVAILABLE");
  await expect(openStore({ kind: "files", directory: "/proc/moiety" })).rejects.toMatchObject({
    type: "STORE_UNAVAILABLE",
    message: expect.stringContaining("/proc/moiety"),
  });
});

test("says which file is no record, and leaves the other records alone", async () => {
  const store = await fresh("damaged");
  await store.records.create("good", 1);
  await store.records.create("bad", 1);
  for (const damaged of ["", "{", "null", "[]"]) {
    await writeFile(join(directory, "damaged/records/keys/bad=/1.json"), damaged);
    await expect(store.records.get("bad")).rejects.toMatchObject({
      type: "STORE_UNAVAILABLE",
      message: expect.stringContaining("bad=/1.json"),
    });
  }
  expect((await store.records.get("good"))?.value).toBe(1);
  await store.close();
});

test("sweeps away old tombstones and leftovers, and nothing that lives", async () => {
  const location = join(directory, "sweep");
  const records = await FileKeyValueStore.open(location);
  for (const key of ["gone/a", "back/b", "kept/c"]) await records.create(key, 1);
  for (const key of ["gone/a", "back/b"]) await records.delete(key);
  await records.create("back/b", 2);
  await mkdir(join(location, "tmp/leftover"));
  await writeFile(join(location, "tmp/leftover/1.json"), "half a rec");
  const folders = async () => (await readdir(join(location, "keys"), { recursive: true })).toSorted();
  const before = await folders();
  await records.sweep(3_600_000);
  expect(await folders()).toEqual(before);
  const old = new Date(Date.now() - 7_200_000);
  for (const path of ["tmp/leftover", ...before.map((name) => join("keys", name))])
    await utimes(join(location, path), old, old);
  await records.sweep(3_600_000);
  expect(await folders()).toEqual(
    [
      "back",
      "back/b=",
      "back/b=/2.json",
      "back/b=/3.json",
      "gone",
      "kept",
      "kept/c=",
      "kept/c=/1.json",
    ].toSorted(),
  );
  expect(await readdir(join(location, "tmp"))).toEqual([]);
  expect((await records.get("kept/c"))?.value).toBe(1);
  expect((await records.create("gone/a", 3)).value).toBe(3);
  expect(await records.keys("")).toEqual(["back/b", "gone/a", "kept/c"]);
});

test("lists a key whose deletion began and was cut short before it was one", async () => {
  const location = join(directory, "unburied");
  const records = await FileKeyValueStore.open(location);
  await records.create("a", 1);
  await writeFile(join(location, "keys/a=~begun"), "");
  expect(await records.keys("")).toEqual(["a"]);
  expect((await records.get("a"))?.value).toBe(1);
});
