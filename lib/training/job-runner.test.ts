/** What the runner does when the store or another service is away in the middle of a job. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, settled } from "../../test/fixtures/eventually.ts";
import { stripesNetwork, writeStripes } from "../../test/fixtures/idx-dataset.ts";
import { StoreUnavailableError, UnavailableError } from "../errors.ts";
import type { Call } from "../protocol/actions.ts";
import type { Job } from "../protocol/jobs.ts";
import { JobCheckpoints } from "../store/job-checkpoints.ts";
import { JobStore } from "../store/job-store.ts";
import { openStore } from "../store/open-store.ts";
import type { KeyValueStore, Store, StoreLocation } from "../store/store.ts";
import { Trainer } from "./trainer.ts";

const LEASE_MS = 600;
const JOB_TIMEOUT_MS = 300_000;

let directory: string;
let location: StoreLocation;
let store: Store;
let trainer: Trainer;
/** Whether the store refuses to write this record. */
let refused: (job: Job) => boolean;
/** What the store does instead of listing its records. */
let listing: (() => Promise<string[]>) | undefined;
let events: string[];
/** Examples trained on. */
let trainedExamples: number;
let warnings: string[];
/** What other services answer, by action. */
let answers: Record<string, () => unknown>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-runner-"));
  await writeStripes(directory, "stripes", { train: 64, test: 16 });
  location = { kind: "files", directory: join(directory, "data") };
  store = await openStore(location);
  refused = () => false;
  listing = undefined;
  events = [];
  trainedExamples = 0;
  warnings = [];
  answers = {
    "converter.convert": () => ({ onnx: {}, signature: {}, labels: [], parity: {} }),
    "evaluator.evaluate": () => ({ accuracy: 1 }),
    "registry.publish": () => ({ model: "m", version: 1 }),
    "registry.promote": () => ({ promoted: true, reason: "no version was in production" }),
  };
  trainer = trainerOf();
});
afterEach(async () => {
  await trainer.stop();
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

/** The store's records, of which a test may refuse some. */
function records(): KeyValueStore {
  const real = store.records;
  return {
    get: (key) => real.get(key),
    create: (key, value) => real.create(key, value),
    update: async (key, value, revision) => {
      if (refused(value as Job)) throw new StoreUnavailableError("the test", "it is away");
      return real.update(key, value, revision);
    },
    delete: (key, revision) => real.delete(key, revision),
    keys: (prefix) => listing?.() ?? real.keys(prefix),
  };
}

function trainerOf(): Trainer {
  return new Trainer({
    jobs: new JobStore(records(), { leaseMs: LEASE_MS, maxQueued: 10 }),
    checkpoints: new JobCheckpoints(store),
    call: (async (action: string) => {
      events.push(action);
      return answers[action]!();
    }) as Call,
    emit: (event) => void events.push(event),
    owner: "runner",
    store: location,
    datasetsDirectory: directory,
    datasetsMemoryBytes: 2 ** 20,
    threads: 1,
    concurrency: 1,
    leaseMs: LEASE_MS,
    codeVersion: "0",
    metrics: {
      increment: (name, _labels, value = 1) => {
        if (name === "moiety.training.examples") trainedExamples += value;
      },
      observe: () => {},
      set: () => {},
    },
    log: { info: () => {}, warn: (message) => void warnings.push(message) },
  });
}

const start = () =>
  trainer.start({ model: "m", architecture: stripesNetwork(), data: { dataset: "stripes" } });

const ended = ({ id }: Job) =>
  eventually(async () => {
    const job = await trainer.get({ id });
    return job.state === "queued" || job.state === "running" ? undefined : job;
  }, JOB_TIMEOUT_MS);

test("more classes than a version's record has room for are refused before training", async () => {
  const spec = { model: "m", architecture: stripesNetwork(200_000), data: { dataset: "stripes" } };
  const { error } = await ended(await trainer.start(spec));
  expect(error).toMatchObject({
    type: "INVALID_INPUT",
    data: { field: expect.stringContaining("data.targets.") },
  });
  expect(trainedExamples).toBe(0);
});

test("a job's result says why its version was not promoted", async () => {
  answers["registry.promote"] = () => ({
    promoted: false,
    reason: "it scores worse: accuracy 0.5 against 0.9",
  });
  expect((await ended(await start())).result).toMatchObject({
    promoted: false,
    promotionReason: "it scores worse: accuracy 0.5 against 0.9",
  });
  const spec = { model: "m", architecture: stripesNetwork(), data: { dataset: "stripes" }, promote: false };
  expect((await ended(await trainer.start(spec))).result).toMatchObject({
    promoted: false,
    promotionReason: "the request asked for no promotion",
  });
});

const count = (event: string) => events.filter((name) => name === event).length;

test("what keeps jobs from being claimed is told of once, not every second", async () => {
  let asked = 0;
  listing = async () => {
    asked++;
    throw new StoreUnavailableError("the test", "it is away");
  };
  await eventually(async () => asked > 2 || undefined);
  expect(warnings.filter((text) => text.startsWith("Cannot claim jobs"))).toEqual([
    "Cannot claim jobs: Store at the test is not available: it is away",
  ]);
});

test("a store that was away between two stages costs an attempt, not the job nor its training", async () => {
  let outages = 0;
  refused = (job) => job.stage === "converting" && outages++ === 0;
  const job = await ended(await start());
  expect(job).toMatchObject({ state: "succeeded", attempts: 2, result: { version: 1, promoted: true } });
  expect(count("training.epochCompleted")).toBe(1);
  expect(count("training.started")).toBe(2);
});

test("a store that was away when the job ended leaves it to another attempt, which ends it the same way", async () => {
  let outages = 0;
  refused = (job) => job.state === "succeeded" && outages++ === 0;
  const job = await ended(await start());
  expect(job).toMatchObject({ state: "succeeded", attempts: 2 });
  expect(count("training.epochCompleted")).toBe(1);
  expect(count("training.ended")).toBe(1);
});

test("a store that stays away fails the job with that reason, once it can be said", async () => {
  refused = (job) => job.stage === "converting" && job.state === "running";
  const job = await ended(await start());
  expect(job).toMatchObject({ state: "failed", attempts: 3, error: { type: "STORE_UNAVAILABLE" } });
});

test("a service that is away for a moment is asked again", async () => {
  let asked = 0;
  answers["converter.convert"] = () => {
    if (asked++ === 0) throw new UnavailableError("The converter", "it restarts");
    return { onnx: {}, signature: {}, labels: [], parity: {} };
  };
  expect(await ended(await start())).toMatchObject({ state: "succeeded", attempts: 1 });
  expect(asked).toBe(2);
});

test("a service that refuses fails the job with its error", async () => {
  answers["evaluator.evaluate"] = () => {
    throw Object.assign(new Error("no such thing"), { type: "INVALID_MODEL", data: { where: "model" } });
  };
  expect(await ended(await start())).toMatchObject({
    state: "failed",
    stage: "evaluating",
    error: { type: "INVALID_MODEL", message: "no such thing", data: { where: "model" } },
  });
  expect(count("registry.publish")).toBe(0);
});

test("stopping does not wait for a service that is away, and gives the job back", async () => {
  answers["converter.convert"] = () => {
    throw new UnavailableError("The converter", "it is gone");
  };
  const { id } = await start();
  await eventually(async () => count("converter.convert") >= 2 || undefined);
  // The service stays away: were it waited for, this would not end.
  await settled(trainer.stop());
  const job = await trainer.get({ id });
  expect(job).toMatchObject({ state: "queued", attempts: 0 });
  expect(job.trained).toBeDefined();
});

test.each(["converter.convert", "evaluator.evaluate"])(
  "cancelling does not wait for the answer of %s",
  async (action) => {
    let answer: (value: object) => void = () => {};
    answers[action] = () => new Promise((resolve) => (answer = resolve));
    const job = await start();
    await eventually(async () => count(action) > 0 || undefined);
    await trainer.cancel(job);
    // It has ended before there is an answer.
    expect(await ended(job)).toMatchObject({ state: "cancelled" });
    answer({});
    expect(count("registry.publish")).toBe(0);
  },
);

/** Cancels a job while an action of the registry is under way, which then answers. */
async function cancelledDuring(action: string, answer: object): Promise<Job> {
  let give: (value: object) => void = () => {};
  answers[action] = () => new Promise((resolve) => (give = resolve));
  const job = await start();
  await eventually(async () => count(action) > 0 || undefined);
  await trainer.cancel(job);
  give(answer);
  return ended(job);
}

test("a job that is cancelled while it is published says what became of it, and is not promoted", async () => {
  const job = await cancelledDuring("registry.publish", { model: "m", version: 7 });
  expect(job).toMatchObject({
    state: "succeeded",
    cancelRequested: true,
    result: { version: 7, promoted: false, promotionReason: "the job was cancelled while it was published" },
  });
  expect(count("registry.promote")).toBe(0);
});

test("a job that is cancelled while it is promoted says so", async () => {
  const job = await cancelledDuring("registry.promote", { promoted: true });
  expect(job).toMatchObject({ state: "succeeded", result: { version: 1, promoted: true } });
});

test("a cancellation that no event told of is found when the lease is renewed, whatever the stage", async () => {
  answers["evaluator.evaluate"] = () => new Promise(() => {});
  const job = await start();
  await eventually(async () => count("evaluator.evaluate") > 0 || undefined);
  await new JobStore(store.records, { leaseMs: LEASE_MS, maxQueued: 10 }).requestCancel(job.id);
  expect(await ended(job)).toMatchObject({ state: "cancelled", stage: "evaluating" });
});

test("a run is stored when its trainer stops, and another trainer goes on from there", async () => {
  const spec = { model: "m", architecture: stripesNetwork(), data: { dataset: "stripes" } };
  /** A job that was stopped in its midst; with more epochs when it had trained before it could be stopped. */
  const stopped = async (epochs: number): Promise<{ job: Job; left: Job; epochs: number }> => {
    events.length = 0;
    trainedExamples = 0;
    const job = await trainer.start({ ...spec, epochs, checkpointSeconds: 1000 });
    await eventually(async () => (await trainer.get(job)).progress);
    await trainer.stop();
    const left = await trainer.get(job);
    if (!left.trained) return { job, left, epochs };
    trainer = trainerOf();
    return stopped(epochs * 4);
  };
  const { job, left, epochs } = await stopped(3000);
  expect(left).toMatchObject({ state: "queued", attempts: 0, checkpoints: [{ epoch: expect.any(Number) }] });
  expect(left.checkpoints![0]!.step).toBeGreaterThan(0);
  expect(left.history).toHaveLength(Math.min(left.checkpoints![0]!.epoch - 1, 1000));

  const epochsBefore = trainedExamples / 64;
  trainer = trainerOf();
  expect(await ended(job)).toMatchObject({ state: "succeeded", attempts: 1 });
  expect(trainedExamples / 64).toBe(epochs);
  expect(epochsBefore).toBe(left.checkpoints![0]!.epoch - 1);
  await eventually(async () => (await new JobCheckpoints(store).jobIds()).length === 0 || undefined);
});

test("what a trainer that died left of a job that has ended is removed by the next to start", async () => {
  const job = await start();
  await ended(job);
  await trainer.stop();
  const checkpoints = new JobCheckpoints(store);
  await checkpoints.put(job.id, new Uint8Array(10));
  await checkpoints.put("unknownjob", new Uint8Array(11));
  trainer = trainerOf();
  await eventually(async () => (await checkpoints.jobIds()).length === 0 || undefined);
  expect((await store.artifacts.list()).map(({ size }) => size)).not.toContain(10);
});

test("a store that takes no checkpoint for a moment costs a warning, not the run", async () => {
  const folder = join(directory, "data", "artifacts", "tmp");
  const spec = { model: "m", architecture: stripesNetwork(), data: { dataset: "stripes" }, epochs: 100_000 };
  const job = await trainer.start({ ...spec, checkpointSeconds: 0.01 });
  const storedAfter = (step: number) =>
    eventually(async () => {
      const newest = (await trainer.get(job)).checkpoints?.[0];
      return newest && newest.step > step ? newest : undefined;
      // A slow disk is asked for a checkpoint after fifty times what the last one took.
    }, JOB_TIMEOUT_MS);
  await storedAfter(0);
  await rm(folder, { recursive: true });
  await writeFile(folder, "in the way");
  await eventually(
    async () => warnings.find((text) => text.includes("Cannot store a checkpoint")),
    JOB_TIMEOUT_MS,
  );
  await rm(folder);
  await mkdir(folder);
  const { step } = (await trainer.get(job)).checkpoints![0]!;
  await storedAfter(step);
  await trainer.cancel(job);
  expect(await ended(job)).toMatchObject({ state: "cancelled", attempts: 1 });
  await eventually(async () => (await store.artifacts.list()).length === 0 || undefined);
});
