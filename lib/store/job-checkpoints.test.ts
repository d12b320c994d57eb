/** Checkpoints of jobs leave nothing behind, wherever their writer stops. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JobCheckpoints } from "./job-checkpoints.ts";
import { openStore } from "./open-store.ts";
import type { Store } from "./store.ts";

let directory: string;
let store: Store;
let checkpoints: JobCheckpoints;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-checkpoints-"));
  store = await openStore({ kind: "files", directory });
  checkpoints = new JobCheckpoints(store);
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const bytes = (text: string) => new TextEncoder().encode(text);
const stored = async () => (await store.artifacts.list()).map(({ digest }) => digest).sort();

test("gives back what was put, and keeps only what it is told to", async () => {
  const refs = [];
  for (const text of ["one", "two", "three"]) refs.push(await checkpoints.put("a", bytes(text)));
  const other = await checkpoints.put("b", bytes("other"));
  expect(new TextDecoder().decode(await checkpoints.get(refs[1]!.digest))).toBe("two");
  await checkpoints.keepOnly("a", [refs[2]!.digest, "sha256:never seen"]);
  expect(await stored()).toEqual([refs[2]!.digest, other.digest].sort());
  expect(await checkpoints.jobIds()).toEqual(["a", "b"]);
  await checkpoints.remove("a", [refs[2]!.digest]);
  await checkpoints.keepOnly("b", []);
  await checkpoints.keepOnly("never", []);
  expect(await stored()).toEqual([]);
  expect(await checkpoints.jobIds()).toEqual([]);
});

test("finds an artifact again whose writer died before anybody heard of it", async () => {
  await checkpoints.put("a", bytes("lost"));
  expect(await new JobCheckpoints(store).jobIds()).toEqual(["a"]);
  await new JobCheckpoints(store).keepOnly("a", []);
  expect(await stored()).toEqual([]);
});

test("names an artifact before it is there: a put that fails leaves nothing that cannot be found", async () => {
  const failing = new JobCheckpoints({
    records: store.records,
    artifacts: Object.assign(Object.create(store.artifacts) as Store["artifacts"], {
      put: () => Promise.reject(new Error("the disk is full")),
    }),
  });
  await expect(failing.put("a", bytes("torn"))).rejects.toThrow("the disk is full");
  expect(await checkpoints.jobIds()).toEqual(["a"]);
  await checkpoints.keepOnly("a", []);
  expect(await checkpoints.jobIds()).toEqual([]);
});

test("loses nothing when two write for one job at once", async () => {
  const texts = Array.from({ length: 8 }, (_, i) => `checkpoint ${i}`);
  const two = [checkpoints, new JobCheckpoints(store)];
  const refs = await Promise.all(texts.map((text, i) => two[i % 2]!.put("a", bytes(text))));
  await checkpoints.keepOnly("a", [refs[0]!.digest]);
  expect(await stored()).toEqual([refs[0]!.digest]);
});
