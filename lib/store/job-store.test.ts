import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rejection } from "../../test/contracts/store-contract.ts";
import { StoreUnavailableError } from "../errors.ts";
import type { Job, TrainingSpec } from "../protocol/jobs.ts";
import { JobStore, type JobStoreOptions } from "./job-store.ts";
import { checkpointed } from "./job-transitions.ts";
import { openStore } from "./open-store.ts";
import type { KeyValueStore, Store } from "./store.ts";

const spec: TrainingSpec = {
  model: "mnist",
  architecture: { class_name: "Sequential", config: {} },
  data: { dataset: "mnist" },
  loss: "sparse_categorical_crossentropy",
  optimizer: { class_name: "Adam", config: {} },
  epochs: 1,
  batchSize: 32,
  seed: 0,
  promote: true,
};

const directory = await mkdtemp(join(tmpdir(), "moiety-jobs-"));
let stores = 0;
let store: Store;
let nowMs: number;
const now = () => nowMs;
const jobStore = (options: Partial<JobStoreOptions> = {}) =>
  new JobStore(store.records, { leaseMs: 1000, maxQueued: 100, now, ...options });

beforeEach(async () => {
  nowMs = Date.parse("2030-01-01T00:00:00Z");
  store = await openStore({ kind: "files", directory: join(directory, String(stores++)) });
});
afterEach(() => store.close());
afterAll(() => rm(directory, { recursive: true, force: true }));

test("lists no more jobs than one message between nodes holds, and one at least", async () => {
  const jobs = jobStore();
  const create = (letters: number) => jobs.create({ ...spec, model: "m".repeat(letters) });
  const large = await create(950_000);
  expect(await jobs.list()).toEqual([large]);
  const ids = [large.id];
  for (let i = 0; i < 12; i++) ids.push((await create(100_000)).id);
  expect((await jobs.list()).map(({ id }) => id)).toEqual(ids.slice(-8).toReversed());
  expect(await jobs.list({ limit: 3 })).toHaveLength(3);
  expect(JSON.stringify(await jobs.list()).length).toBeLessThan(2 ** 20);
});

test("creates jobs whose ids are unique and sort by time", async () => {
  const jobs = jobStore();
  const created: Job[] = [];
  for (let n = 0; n < 20; n++) {
    if (n % 5 === 0) nowMs += 1;
    created.push(await jobs.create({ ...spec, seed: n }));
  }
  const ids = created.map((job) => job.id);
  expect(ids).toEqual([...new Set(ids)].toSorted());
  expect(created[0]).toMatchObject({ state: "queued", stage: "waiting", attempts: 0, history: [] });
  expect(await jobs.get(ids[3]!)).toEqual(created[3]);
  expect((await jobs.list()).map((job) => job.id)).toEqual(ids.toReversed());
  expect((await jobs.list({ limit: 3 })).map((job) => job.id)).toEqual(ids.toReversed().slice(0, 3));
});

test("says which job it does not know", async () => {
  const jobs = jobStore();
  for (const id of ["nothing", "", "../x", "a/b"]) {
    await expect(jobs.get(id)).rejects.toMatchObject({ type: "JOB_NOT_FOUND", data: { job: id } });
    expect(await rejection(jobs.requestCancel(id))).toBe("JOB_NOT_FOUND");
  }
});

test("refuses jobs beyond the queue's limit, also when they come at once, and takes them when there is room", async () => {
  const jobs = jobStore({ maxQueued: 3 });
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => rejection(jobs.create(spec))));
  expect(outcomes.filter((outcome) => outcome === "resolved").length).toBe(3);
  expect(outcomes.filter((outcome) => outcome === "QUEUE_FULL").length).toBe(5);
  await jobs.claim("a");
  await jobs.create(spec);
  expect(await rejection(jobs.create(spec))).toBe("QUEUE_FULL");
});

test("hands out the oldest job first and nothing when none waits", async () => {
  const jobs = jobStore();
  expect(await jobs.claim("a")).toBeUndefined();
  const first = await jobs.create(spec);
  const second = await jobs.create(spec);
  expect(await jobs.claim("a")).toMatchObject({
    id: first.id,
    state: "running",
    owner: "a",
    attempts: 1,
    leaseExpiresAt: nowMs + 1000,
  });
  expect((await jobs.claim("a"))?.id).toBe(second.id);
  expect(await jobs.claim("a")).toBeUndefined();
  expect((await jobs.list({ state: "running" })).map((job) => job.id)).toEqual([second.id, first.id]);
  expect(await jobs.list({ state: "queued" })).toEqual([]);
});

test("gives every job to exactly one of many claimers", async () => {
  const created = new Set<string>();
  const creator = jobStore();
  for (let n = 0; n < 30; n++) created.add((await creator.create(spec)).id);
  const claimedBy = new Map<string, string>();
  const claimers = Array.from({ length: 8 }, async (_, n) => {
    const jobs = jobStore();
    for (let job = await jobs.claim(`owner-${n}`); job; job = await jobs.claim(`owner-${n}`)) {
      expect(claimedBy.has(job.id)).toBe(false);
      claimedBy.set(job.id, `owner-${n}`);
      await jobs.end(job.id, `owner-${n}`, { state: "succeeded" });
    }
  });
  await Promise.all(claimers);
  expect(await creator.list({ state: "queued" })).toEqual([]);
  expect(new Set(claimedBy.keys())).toEqual(created);
  for (const [id, owner] of claimedBy)
    expect(await creator.get(id)).toMatchObject({ state: "succeeded", owner, attempts: 1 });
});

test("lets one claimer take over when a lease runs out, and shuts the old owner out", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  await jobs.claim("dead");
  nowMs += 999;
  expect(await jobs.claim("b")).toBeUndefined();
  await jobs.renew(id, "dead");
  nowMs += 999;
  expect(await jobs.claim("b")).toBeUndefined();
  nowMs += 1;
  const claims = await Promise.all(["b", "c", "d"].map((owner) => jobStore().claim(owner)));
  const taken = claims.filter((job) => job !== undefined);
  expect(taken.length).toBe(1);
  expect(taken[0]).toMatchObject({ id, attempts: 2 });
  for (const late of [
    () => jobs.renew(id, "dead"),
    () => jobs.update(id, "dead", (job) => ({ ...job, stage: "done" })),
    () => jobs.end(id, "dead", { state: "succeeded" }),
    () => jobs.release(id, "dead"),
  ])
    await expect(late()).rejects.toMatchObject({ type: "JOB_STATE", code: 409 });
  expect(await jobs.get(id)).toEqual(taken[0]);
});

test("fails a job that outlived three owners, and says so", async () => {
  const abandoned: Job[] = [];
  const jobs = jobStore({ onAbandoned: (job) => abandoned.push(job) });
  const { id } = await jobs.create(spec);
  for (const owner of ["a", "b", "c"]) {
    expect((await jobs.claim(owner))?.id).toBe(id);
    nowMs += 1000;
  }
  expect(await jobs.claim("d")).toBeUndefined();
  const job = await jobs.get(id);
  expect(job).toMatchObject({
    state: "failed",
    attempts: 3,
    error: { message: expect.stringContaining("Given up after 3 attempts") },
  });
  expect(job.finishedAt).toBeDefined();
  expect(job.leaseExpiresAt).toBeUndefined();
  expect(abandoned).toEqual([job]);
});

test("updates what the owner may change and keeps identity, state and lease", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  expect(await rejection(jobs.update(id, "a", (job) => job))).toBe("JOB_STATE");
  await jobs.claim("a");
  const updated = await jobs.update(id, "a", (job) => ({
    ...job,
    id: "other",
    state: "failed",
    owner: "b",
    attempts: 0,
    stage: "training",
    history: [...job.history, { epoch: 1, loss: 0.5, accuracy: 0.9, learningRate: 0.01, seconds: 3 }],
  }));
  expect(updated).toMatchObject({ id, state: "running", owner: "a", attempts: 1, stage: "training" });
  expect(await jobs.get(id)).toEqual(updated);
});

test("loses no update of an owner who writes while a cancellation comes in", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  await jobs.claim("a");
  const epochs = Array.from({ length: 10 }, (_, n) =>
    jobs.update(id, "a", (job) => ({
      ...job,
      history: [...job.history, { epoch: n, loss: 0, accuracy: 0, learningRate: 0, seconds: 0 }],
    })),
  );
  await Promise.all([...epochs, jobStore().requestCancel(id)]);
  const job = await jobs.renew(id, "a");
  expect(job.cancelRequested).toBe(true);
  expect(job.history.map((epoch) => epoch.epoch).toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("cancels a waiting job at once, a running one through its owner, and refuses an ended one", async () => {
  const jobs = jobStore();
  const waiting = await jobs.create(spec);
  expect(await jobs.requestCancel(waiting.id)).toMatchObject({ state: "cancelled" });
  expect(await jobs.claim("a")).toBeUndefined();

  const running = await jobs.create(spec);
  await jobs.claim("a");
  expect(await jobs.requestCancel(running.id)).toMatchObject({ state: "running", cancelRequested: true });
  expect(await jobs.requestCancel(running.id)).toMatchObject({ state: "running", cancelRequested: true });
  await jobs.end(running.id, "a", { state: "cancelled" });

  for (const { id } of [waiting, running])
    await expect(jobs.requestCancel(id)).rejects.toMatchObject({
      type: "JOB_STATE",
      data: { job: id, state: "cancelled", wanted: "cancelled" },
    });
});

test("cancels a job whose owner died before it saw the request", async () => {
  const abandoned: string[] = [];
  const jobs = jobStore({ onAbandoned: (job) => abandoned.push(job.state) });
  const seen = await jobs.create(spec);
  await jobs.claim("dead");
  await jobs.requestCancel(seen.id);
  nowMs += 1000;
  expect(await jobs.claim("b")).toBeUndefined();
  expect(await jobs.get(seen.id)).toMatchObject({ state: "cancelled" });
  expect(abandoned).toEqual(["cancelled"]);

  const unseen = await jobs.create(spec);
  await jobs.claim("dead");
  nowMs += 1000;
  expect(await jobs.requestCancel(unseen.id)).toMatchObject({ state: "cancelled" });
});

test("ends a job once, and repeats the answer when the same end is reported again", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  await jobs.claim("a");
  const error = { type: "TRAINING_DIVERGED", message: "loss became NaN", data: { step: 3 } };
  const failed = await jobs.end(id, "a", { state: "failed", error });
  expect(failed).toMatchObject({ state: "failed", stage: "waiting", error });
  expect(await jobs.end(id, "a", { state: "failed", error })).toEqual(failed);
  expect(await rejection(jobs.end(id, "a", { state: "succeeded" }))).toBe("JOB_STATE");
  expect(await rejection(jobs.end(id, "b", { state: "failed", error }))).toBe("JOB_STATE");
  expect(await jobs.claim("b")).toBeUndefined();
});

test("puts a released job back without counting the attempt", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  for (let stop = 0; stop < 5; stop++) {
    expect(await jobs.claim("a")).toMatchObject({ id, attempts: 1 });
    const released = await jobs.release(id, "a");
    expect(released).toMatchObject({ state: "queued", attempts: 0 });
    expect(released.owner).toBeUndefined();
  }
});

test("keeps the newest ended jobs and every job that has not ended", async () => {
  const jobs = jobStore({ maxEnded: 5 });
  const waiting = await jobs.create(spec);
  const endedIds: string[] = [];
  for (let n = 0; n < 9; n++) {
    const { id } = await jobs.create(spec);
    await jobs.requestCancel(id);
    endedIds.push(id);
  }
  expect((await jobs.list()).map((job) => job.id)).toEqual([...endedIds.slice(4).toReversed(), waiting.id]);
  expect(await rejection(jobs.get(endedIds[3]!))).toBe("JOB_NOT_FOUND");
});

test("gives a job up after three attempts in a row that came no further, however many did", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  const checkpoint = (step: number) => ({ digest: `sha256:${step}`, size: 1, epoch: 1, step });
  for (let attempt = 1; attempt <= 7; attempt++) {
    expect(await jobs.claim(`owner ${attempt}`)).toMatchObject({ id, attempts: attempt });
    await jobs.update(id, `owner ${attempt}`, (job) => checkpointed(job, checkpoint(attempt * 10)));
    nowMs += 1001;
  }
  expect((await jobs.get(id)).checkpoints).toEqual([checkpoint(70), checkpoint(60)]);
  for (let attempt = 8; attempt <= 9; attempt++) {
    expect(await jobs.claim("again")).toMatchObject({ id, attempts: attempt });
    // The same place once more is not further.
    await jobs.update(id, "again", (job) => checkpointed(job, { ...checkpoint(70), digest: "sha256:other" }));
    nowMs += 1001;
  }
  expect(await jobs.claim("one more")).toBeUndefined();
  const job = await jobs.get(id);
  expect(job).toMatchObject({ state: "failed", error: { type: "WORKER_CRASHED", data: { attempts: 9 } } });
  expect(job.error!.message).toContain("Given up after 3 attempts that came no further (9 in all)");
  expect(Object.keys(job)).not.toContain("checkpoints");
});

test("counts an attempt that was given back as none", async () => {
  const jobs = jobStore();
  const { id } = await jobs.create(spec);
  for (let i = 0; i < 5; i++) {
    await jobs.claim("a");
    expect(await jobs.release(id, "a")).toMatchObject({ attempts: 0, fruitlessAttempts: 0 });
  }
});

describe("a record that cannot be read", () => {
  /** The store's records, of which one is damaged. */
  const damaged = (id: string): KeyValueStore => {
    const { records } = store;
    return {
      get: async (key) => {
        if (key.endsWith(id)) throw new StoreUnavailableError(key, "it holds no valid record");
        return records.get(key);
      },
      create: (key, value) => records.create(key, value),
      update: (key, value, revision) => records.update(key, value, revision),
      delete: (key, revision) => records.delete(key, revision),
      keys: (prefix) => records.keys(prefix),
    };
  };

  test("holds up no other job, and is told of once nothing else is left", async () => {
    const [broken, sound] = [await jobStore().create(spec), await jobStore().create(spec)];
    const jobs = new JobStore(damaged(broken.id), { leaseMs: 1000, maxQueued: 2, now });
    expect((await jobs.claim("a"))?.id).toBe(sound.id);
    expect(await rejection(jobs.claim("a"))).toBe("STORE_UNAVAILABLE");
    expect((await jobs.list()).map(({ id }) => id)).toEqual([sound.id]);
    expect(await rejection(jobs.get(broken.id))).toBe("STORE_UNAVAILABLE");
    const more = await jobs.create(spec);
    expect((await jobs.claim("a"))?.id).toBe(more.id);
  });

  test("that holds no job at all does neither", async () => {
    await store.records.create("jobs/000", null);
    const jobs = jobStore();
    const sound = await jobs.create(spec);
    expect((await jobs.claim("a"))?.id).toBe(sound.id);
    expect(await rejection(jobs.claim("a"))).toBe("STORE_UNAVAILABLE");
  });

  test("is asked for no further when it is the store that is away", async () => {
    for (let i = 0; i < 5; i++) await jobStore().create(spec);
    let asked = 0;
    let isAway = false;
    const away = async (): Promise<never> => {
      asked++;
      throw new StoreUnavailableError("the test", "it is away");
    };
    const { records } = store;
    const flaky: KeyValueStore = {
      ...damaged("none"),
      get: away,
      keys: (p) => (isAway ? away() : records.keys(p)),
    };
    const jobs = new JobStore(
      { ...flaky, keys: async (prefix) => flaky.keys(prefix).finally(() => (isAway = true)) },
      { leaseMs: 1000, maxQueued: 9, now },
    );
    expect(await rejection(jobs.claim("a"))).toBe("STORE_UNAVAILABLE");
    expect(asked).toBe(2);
  });
});
