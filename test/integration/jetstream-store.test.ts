import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { connect, Empty, headers } from "nats";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { JobCheckpoints } from "../../lib/store/job-checkpoints.ts";
import { JobStore } from "../../lib/store/job-store.ts";
import { openStore } from "../../lib/store/open-store.ts";
import type { Store } from "../../lib/store/store.ts";
import { describeStore, rejection } from "../contracts/store-contract.ts";
import { settled, until } from "../fixtures/eventually.ts";

const directory = await mkdtemp(join(tmpdir(), "moiety-jetstream-"));
let nats: RunningServer;
const open = (bucket: string): Promise<Store> => openStore({ kind: "jetstream", url: nats.url, bucket });

beforeAll(async () => {
  nats = await startNats({ directory });
});
afterAll(async () => {
  await nats?.stop();
  await rm(directory, { recursive: true, force: true });
});

describeStore("the JetStream store", async () => {
  const store = await open("contract");
  return { store, dispose: () => store.close() };
});

test("keeps buckets apart, and lets many open one at the same time", async () => {
  const stores = await Promise.all(["one", "one", "one", "two"].map(open));
  await stores[0]!.records.create("key", 1);
  const { digest } = await stores[0]!.artifacts.put(Buffer.from("bytes"));
  expect((await stores[2]!.records.get("key"))?.value).toBe(1);
  expect(await stores[2]!.artifacts.has(digest)).toBe(true);
  expect(await stores[3]!.records.get("key")).toBeUndefined();
  expect(await stores[3]!.artifacts.has(digest)).toBe(false);
  await Promise.all(stores.map((store) => store.close()));
});

test("lets several nodes store the same artifact at once and keeps its chunks once", async () => {
  const stores = await Promise.all(Array.from({ length: 4 }, () => open("same")));
  const bytes = randomBytes(500_000);
  const references = await Promise.all(stores.map((store) => store.artifacts.put(bytes)));
  expect(new Set(references.map(({ digest }) => digest)).size).toBe(1);
  for (const store of stores)
    expect(Buffer.compare(await store.artifacts.get(references[0]!.digest), bytes)).toBe(0);
  const connection = await connect({ servers: nats.url });
  const manager = await connection.jetstreamManager();
  const { state } = await manager.streams.info("OBJ_same-artifacts", {
    subjects_filter: "$O.same-artifacts.C.>",
  });
  expect(Object.values(state.subjects ?? {})).toEqual([Math.ceil(500_000 / (128 * 1024))]);
  await connection.close();
  await Promise.all(stores.map((store) => store.close()));
});

test("shares its artifacts with other NATS clients, both ways", async () => {
  const store = await open("shared");
  const connection = await connect({ servers: nats.url });
  const objects = await connection.jetstream().views.os("shared-artifacts");
  const bytes = randomBytes(300_000);
  const { digest } = await store.artifacts.put(bytes);
  expect(Buffer.compare((await objects.getBlob(digest))!, bytes)).toBe(0);
  expect(await objects.info(digest)).toMatchObject({ size: 300_000, chunks: 3 });
  await store.artifacts.delete(digest);
  await objects.putBlob({ name: digest }, bytes);
  expect(Buffer.compare(await store.artifacts.get(digest), bytes)).toBe(0);
  await connection.close();
  await store.close();
});

test("notices an artifact whose bytes have changed or are missing", async () => {
  const store = await open("corrupt");
  const connection = await connect({ servers: nats.url });
  const objects = await connection.jetstream().views.os("corrupt-artifacts");
  const { digest } = await store.artifacts.put(randomBytes(300_000));
  await objects.putBlob({ name: digest }, randomBytes(300_000));
  expect(await rejection(store.artifacts.get(digest))).toBe("ARTIFACT_CORRUPT");
  const { nuid } = (await objects.info(digest))!;
  const manager = await connection.jetstreamManager();
  await manager.streams.purge("OBJ_corrupt-artifacts", { filter: `$O.corrupt-artifacts.C.${nuid}`, keep: 1 });
  expect(await rejection(store.artifacts.get(digest))).toBe("ARTIFACT_CORRUPT");
  await manager.streams.purge("OBJ_corrupt-artifacts", { filter: `$O.corrupt-artifacts.C.${nuid}` });
  expect(await rejection(store.artifacts.get(digest))).toBe("ARTIFACT_CORRUPT");
  await connection.close();
  await store.close();
});

test("treats a deletion that was cut short as done", async () => {
  const store = await open("marker");
  const entry = await store.records.create("key", 1);
  const connection = await connect({ servers: nats.url });
  const marker = headers();
  marker.set("KV-Operation", "DEL");
  await connection.jetstream().publish("$KV.marker-records.key", Empty, { headers: marker });
  expect(await rejection(store.records.update("key", 2, entry.revision))).toBe("REVISION_CONFLICT");
  expect(await store.records.get("key")).toBeUndefined();
  expect(await store.records.keys("")).toEqual([]);
  await connection.jetstream().publish("$KV.marker-records.key", Empty, { headers: marker });
  expect((await store.records.create("key", 3)).value).toBe(3);
  await connection.close();
  await store.close();
});

test("gives every job to exactly one of many claimers on connections of their own", async () => {
  const stores = await Promise.all(Array.from({ length: 4 }, () => open("jobs")));
  const jobs = stores.map((store) => new JobStore(store.records, { leaseMs: 10_000, maxQueued: 100 }));
  const spec = {
    model: "mnist",
    architecture: { class_name: "Sequential", config: {} },
    data: { dataset: "mnist" },
    loss: "mse",
    optimizer: { class_name: "Adam", config: {} },
    epochs: 1,
    batchSize: 32,
    seed: 0,
    promote: true,
  };
  const created = await Promise.all(Array.from({ length: 20 }, (_, n) => jobs[n % 4]!.create(spec)));
  const claimed: string[] = [];
  await Promise.all(
    jobs.map(async (store, n) => {
      for (let job = await store.claim(`node-${n}`); job; job = await store.claim(`node-${n}`)) {
        claimed.push(job.id);
        await store.end(job.id, `node-${n}`, { state: "succeeded" });
      }
    }),
  );
  expect(claimed.toSorted()).toEqual(created.map((job) => job.id).toSorted());
  await Promise.all(stores.map((store) => store.close()));
});

test("keeps the checkpoints of jobs, shared between connections, and leaves nothing of them", async () => {
  const [one, other] = [await open("checkpoints"), await open("checkpoints")];
  const [mine, theirs] = [new JobCheckpoints(one), new JobCheckpoints(other)];
  const refs = await Promise.all(
    [1, 2, 3].map((i) => (i === 2 ? theirs : mine).put("job", randomBytes(200_000 + i))),
  );
  await theirs.keepOnly("job", [refs[1]!.digest]);
  expect((await mine.get(refs[1]!.digest)).byteLength).toBe(200_002);
  expect(await one.artifacts.list()).toEqual([refs[1]]);
  await mine.remove("job", [refs[1]!.digest]);
  expect(await theirs.jobIds()).toEqual([]);
  expect(await other.artifacts.list()).toEqual([]);
  await Promise.all([one.close(), other.close()]);
});

test("rides out a restart of the server, and loses and repeats no write", async () => {
  const store = await open("restart");
  await store.records.create("count", 0);
  const { digest } = await store.artifacts.put(Buffer.from("kept"));
  let written = 0;
  let stopped = false;
  const writer = (async () => {
    while (!stopped) {
      const { value, revision } = (await store.records.get<number>("count"))!;
      await store.records.update("count", value + 1, revision);
      written++;
    }
  })();
  for (let restart = 0; restart < 2; restart++) {
    const begun = written;
    await until(() => written > begun);
    nats.kill("SIGKILL");
    await wait(500);
    const before = written;
    nats = await startNats({ directory, port: nats.port });
    await until(() => written > before);
  }
  stopped = true;
  await writer;
  expect((await store.records.get("count"))?.value).toBe(written);
  expect(Buffer.from(await store.artifacts.get(digest)).toString()).toBe("kept");
  await store.close();
});

test("says that the server is away, at once when opening and after a while when working", async () => {
  const own = await startNats();
  const store = await openStore({ kind: "jetstream", url: own.url, bucket: "away" });
  await own.stop();
  await expect(openStore({ kind: "jetstream", url: own.url, bucket: "away" })).rejects.toMatchObject({
    type: "STORE_UNAVAILABLE",
    data: { store: own.url, reason: "the server refuses connections" },
  });
  // The server stays away: what waits for it for ever would never be settled.
  const working = Promise.all([
    rejection(store.records.get("key")),
    rejection(store.records.create("key", 1)),
    rejection(store.records.keys("")),
    rejection(store.artifacts.put(randomBytes(300_000))),
    rejection(store.artifacts.has(`sha256:${"0".repeat(64)}`)),
    rejection(store.artifacts.list()),
  ]);
  const outcomes = await settled(working);
  expect(outcomes).toEqual(outcomes.map(() => "STORE_UNAVAILABLE"));
  await store.close();
});

test("opens once a server that was slow to answer does", async () => {
  const own = await startNats();
  own.kill("SIGSTOP");
  // Longer than one request waits for its answer.
  const [store] = await Promise.all([
    openStore({ kind: "jetstream", url: own.url, bucket: "slow" }),
    wait(4_000).then(() => own.kill("SIGCONT")),
  ]);
  await store.records.create("key", 1);
  await store.close();
  await own.stop();
});

test("keeps the password out of its errors", async () => {
  await expect(
    openStore({ kind: "jetstream", url: "nats://user:secret@127.0.0.1:1", bucket: "x" }),
  ).rejects.toMatchObject({ message: expect.not.stringContaining("secret") });
});
