/** What the runner does when the store or another service is away in the middle of a job. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../../test/fixtures/eventually.ts";
import { stripesNetwork, writeStripes } from "../../test/fixtures/idx-dataset.ts";
import { StoreUnavailableError, UnavailableError } from "../errors.ts";
import type { Call } from "../protocol/actions.ts";
import type { Job } from "../protocol/jobs.ts";
import { JobCheckpoints } from "../store/job-checkpoints.ts";
import { JobStore } from "../store/job-store.ts";
import { openStore } from "../store/open-store.ts";
import type { KeyValueStore, Store } from "../store/store.ts";
import { Trainer } from "./trainer.ts";

const LEASE_MS = 600;

let directory: string;
let store: Store;
let trainer: Trainer;
/** Whether the store refuses to write this record. */
let refused: (job: Job) => boolean;
let events: string[];
/** What other services answer, by action. */
let answers: Record<string, () => unknown>;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-runner-"));
  await writeStripes(directory, "stripes", { train: 64, test: 16 });
  const location = { kind: "files", directory: join(directory, "data") } as const;
  store = await openStore(location);
  refused = () => false;
  events = [];
  answers = {
    "converter.convert": () => ({ onnx: {}, signature: {}, labels: [], parity: {} }),
    "evaluator.evaluate": () => ({ accuracy: 1 }),
    "registry.publish": () => ({ model: "m", version: 1 }),
    "registry.promote": () => ({ promoted: true }),
  };
  const real = store.records;
  const records: KeyValueStore = {
    get: (key) => real.get(key),
    create: (key, value) => real.create(key, value),
    update: async (key, value, revision) => {
      if (refused(value as Job)) throw new StoreUnavailableError("the test", "it is away");
      return real.update(key, value, revision);
    },
    delete: (key, revision) => real.delete(key, revision),
    keys: (prefix) => real.keys(prefix),
  };
  trainer = new Trainer({
    jobs: new JobStore(records, { leaseMs: LEASE_MS, maxQueued: 10 }),
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
    metrics: { increment: () => {}, observe: () => {}, set: () => {} },
    log: { info: () => {}, warn: () => {} },
  });
});
afterEach(async () => {
  await trainer.stop();
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const start = () =>
  trainer.start({ model: "m", architecture: stripesNetwork(), data: { dataset: "stripes" } });

const ended = ({ id }: Job) =>
  eventually(async () => {
    const job = await trainer.get({ id });
    return job.state === "queued" || job.state === "running" ? undefined : job;
  }, 30_000);

const count = (event: string) => events.filter((name) => name === event).length;

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
  const stoppedAt = performance.now();
  await trainer.stop();
  expect(performance.now() - stoppedAt).toBeLessThan(1500);
  const job = await trainer.get({ id });
  expect(job).toMatchObject({ state: "queued", attempts: 0 });
  expect(job.trained).toBeDefined();
});
