/**
 * Training that is killed again and again ends as training that was left alone: the same weights, statistics and
 * optimiser slots to the bit, the same history, and nothing left behind in the store.
 */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { Job, TrainingSpec } from "../../lib/protocol/jobs.ts";
import type { ModelVersion } from "../../lib/protocol/models.ts";
import { JobCheckpoints } from "../../lib/store/job-checkpoints.ts";
import { JobStore } from "../../lib/store/job-store.ts";
import { openStore } from "../../lib/store/open-store.ts";
import type { Store } from "../../lib/store/store.ts";
import { readCheckpoint } from "../../lib/training/checkpoint.ts";
import { eventually } from "../fixtures/eventually.ts";
import { writeStripes } from "../fixtures/idx-dataset.ts";
import { endForGood, type Program, runProgram } from "../fixtures/program.ts";

const LEASE_MS = 600;
const MAX_ATTEMPTS = 5;
const END_TIMEOUT_MS = 900_000;

const layer = (class_name: string, config: Record<string, unknown> = {}) => ({ class_name, config });
/** Everything that a run carries along: statistics, masks, slots, averages, validation, a smaller last batch. */
const SPEC: TrainingSpec = {
  model: "stripes",
  architecture: {
    class_name: "Sequential",
    config: {
      name: "net",
      layers: [
        layer("InputLayer", { name: "image", batch_shape: [null, 8, 8, 1] }),
        layer("Rescaling", { scale: 1 / 255 }),
        layer("Conv2D", { filters: 8, kernel_size: 3, activation: "relu" }),
        layer("BatchNormalization"),
        layer("MaxPooling2D"),
        layer("Flatten"),
        layer("Dropout", { rate: 0.3 }),
        layer("Dense", { units: 4, activation: "softmax" }),
      ],
    },
  },
  data: { dataset: "stripes", validationSplit: 0.2 },
  loss: "sparse_categorical_crossentropy",
  optimizer: { class_name: "Adam", config: { use_ema: true, ema_overwrite_frequency: 7 } },
  callbacks: [
    { class_name: "ReduceLROnPlateau", config: { monitor: "val_loss", factor: 0.7, patience: 20 } },
    { class_name: "ModelCheckpoint", config: { monitor: "val_loss", save_best_only: true } },
  ],
  epochs: 900,
  batchSize: 24,
  seed: 11,
  checkpointSeconds: 0.05,
  promote: true,
};

let directory: string;
let datasets: string;
const programs: Program[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-resume-"));
  datasets = join(directory, "datasets");
  await writeStripes(datasets, "stripes", { train: 500, test: 20 });
});
afterEach(async () => {
  for (const program of programs.splice(0)) await endForGood(program);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function trainer(data: string): Program {
  const program = runProgram(["test/fixtures/trainer-process.ts", data, datasets, String(LEASE_MS)], {});
  programs.push(program);
  return program;
}

async function withStore<T>(data: string, use: (store: Store, jobs: JobStore) => Promise<T>): Promise<T> {
  const store = await openStore({ kind: "files", directory: data });
  try {
    return await use(store, new JobStore(store.records, { leaseMs: LEASE_MS, maxQueued: 10 }));
  } finally {
    await store.close();
  }
}

const ended = (jobs: JobStore, { id }: Job) =>
  eventually(async () => {
    const job = await jobs.get(id);
    return job.state === "queued" || job.state === "running" ? undefined : job;
  }, END_TIMEOUT_MS);

/** What has to be the same, and the digests of all that is stored. */
async function outcomeOf(store: Store, job: Job) {
  expect({ state: job.state, error: job.error }).toEqual({ state: "succeeded", error: undefined });
  const { digest } = job.trained!.checkpoint;
  const { weights, slots, step, history } = readCheckpoint(await store.artifacts.get(digest));
  const comparable = history.map(({ seconds: _, ...rest }) => rest);
  expect(job.history).toEqual(history);
  expect(await store.artifacts.list()).toEqual([expect.objectContaining({ digest })]);
  expect(await new JobCheckpoints(store).jobIds()).toEqual([]);
  return { weights, slots, step, history: comparable };
}

/** One run left alone, for all tests to compare with. */
let undisturbed: Promise<Awaited<ReturnType<typeof outcomeOf>>> | undefined;
function leftAlone() {
  undisturbed ??= withStore(join(directory, "alone"), async (store, jobs) => {
    const job = await jobs.create(SPEC);
    trainer(join(directory, "alone"));
    return outcomeOf(store, await ended(jobs, job));
  });
  return undisturbed;
}

/** Random moments, other ones each time; printed by the expectation when it fails. */
const moments = (count: number, maxMs: number) =>
  Array.from({ length: count }, () => Math.round(Math.random() * maxMs));

/** What a scenario proves, played again from its start when the run was over before enough had happened to it. */
async function caught(name: string, scenario: (data: string) => Promise<boolean>): Promise<void> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    if (await scenario(join(directory, `${name}-${attempt}`))) return;
    for (const program of programs.splice(0)) await endForGood(program);
  }
  throw new Error(`The run was over too soon, ${MAX_ATTEMPTS} times`);
}

test("a process that is killed at random moments is gone on from to the same bits", async () => {
  const expected = await leftAlone();
  const kills = moments(7, 500);
  await caught("killed", (data) =>
    withStore(data, async (store, jobs) => {
      const job = await jobs.create(SPEC);
      let killed = 0;
      for (const [i, ms] of kills.entries()) {
        const program = trainer(data);
        const before = (await jobs.get(job.id)).checkpoints?.[0]?.step ?? 0;
        // From the moment it has the job; every other time, so that the job is not given up, once it has come further.
        const state = await eventually(async () => {
          const { owner, state, checkpoints } = await jobs.get(job.id);
          const has = owner?.startsWith(`process ${program.child.pid} `);
          const further = (checkpoints?.[0]?.step ?? 0) > before;
          return state === "succeeded" || (has && (i % 2 === 0 || further)) ? state : undefined;
        });
        if (state === "running") await wait(ms);
        program.child.kill("SIGKILL");
        await program.ended();
        if (state === "succeeded") break;
        killed++;
      }
      // A fast machine may be done before it has been killed seven times.
      if (killed < 3) return false;
      trainer(data);
      const done = await ended(jobs, job);
      expect({ kills, ...(await outcomeOf(store, done)) }).toEqual({ kills, ...expected });
      expect(done.attempts).toBeGreaterThanOrEqual(killed);
      return true;
    }),
  );
});

test("a process that is told to stop stores its run first, and loses no step", async () => {
  const expected = await leftAlone();
  await caught("stopped", (data) =>
    withStore(data, async (store, jobs) => {
      // Stored by the stops alone.
      const job = await jobs.create({ ...SPEC, checkpointSeconds: 1e6 });
      let [step, stops] = [0, 0];
      for (const ms of moments(3, 400)) {
        const { progress: before } = await jobs.get(job.id);
        const program = trainer(data);
        // From the first sign of its own progress.
        await eventually(async () => {
          const { state, progress } = await jobs.get(job.id);
          const trains = state === "running" && progress && !isDeepStrictEqual(progress, before);
          return trains || state === "succeeded" || undefined;
        });
        await wait(ms);
        program.child.kill("SIGTERM");
        expect(await program.ended()).toBe(0);
        const left = await jobs.get(job.id);
        if (left.trained) break;
        expect(left).toMatchObject({ state: "queued", attempts: 0 });
        expect(left.checkpoints![0]!.step).toBeGreaterThan(step);
        step = left.checkpoints![0]!.step;
        stops++;
      }
      // A fast machine may be done before it has been stopped three times.
      if (stops < 2) return false;
      trainer(data);
      const done = await ended(jobs, job);
      expect(await outcomeOf(store, done)).toEqual(expected);
      expect(done.attempts).toBe(1);
      return true;
    }),
  );
});

test("a checkpoint that is torn or gone is passed over, with a warning", async () => {
  const expected = await leftAlone();
  await caught("torn", (data) =>
    withStore(data, async (store, jobs) => {
      const job = await jobs.create(SPEC);
      const first = trainer(data);
      await eventually(async () => {
        const { checkpoints, trained } = await jobs.get(job.id);
        return checkpoints?.length === 2 || trained ? true : undefined;
      });
      first.child.kill("SIGKILL");
      await first.ended();
      const { checkpoints: left, trained } = await jobs.get(job.id);
      if (trained || !left) return false;
      expect(left).toHaveLength(2);
      const fileOf = (digest: string) => {
        const hex = digest.slice("sha256:".length);
        return join(data, "artifacts", "sha256", hex.slice(0, 2), hex);
      };
      const file = fileOf(left[0]!.digest);
      const bytes = await readFile(file);
      bytes[bytes.length - 5]! ^= 1;
      await writeFile(file, bytes);
      const second = trainer(data);
      const done = await ended(jobs, job);
      expect(second.stderr()).toContain(`Checkpoint ${left[0]!.digest} cannot be used`);
      expect(second.stderr()).toContain(`goes on after step ${left[1]!.step}`);
      expect(await outcomeOf(store, done)).toEqual(expected);
      return true;
    }),
  );
});

test("a whole node that is killed, with every service in it, goes on by itself when it is started again", async () => {
  const expected = await leftAlone();
  const read = async <T>(url: string, init?: RequestInit) =>
    (await (await fetch(url, { ...init, headers: { "content-type": "application/json" } })).json()) as T;

  await caught("node", async (data) => {
    const settings = {
      MOIETY_HTTP_PORT: "0",
      MOIETY_GRPC_PORT: "0",
      MOIETY_DATA_DIR: data,
      MOIETY_DATASETS_DIR: datasets,
      // As the run that was left alone: how sums are shared out among threads shows in their last bits.
      MOIETY_TRAINER_THREADS: "1",
    };
    const node = async () => {
      const program = runProgram(["cli/start.ts", "--empty"], settings);
      programs.push(program);
      return { program, url: (await program.untilPrinted(/Serving on (http:\/\/[^\s,]+:\d+)/))[1]! };
    };
    let { program, url } = await node();
    const { id } = await read<Job>(`${url}/api/jobs`, { method: "POST", body: JSON.stringify(SPEC) });
    let step = 0;
    for (let kill = 0; kill < 2; kill++) {
      // Its lease has to run out first.
      const reached = await eventually(async () => {
        const { checkpoints, state } = await read<Job>(`${url}/api/jobs/${id}`);
        if (state === "succeeded") return { over: true };
        const newest = checkpoints?.[0];
        return newest && newest.step > step ? { over: false, step: newest.step } : undefined;
      });
      // A fast machine may be done before the second kill.
      if (reached.over) break;
      step = reached.step!;
      await wait(Math.random() * 500);
      program.child.kill("SIGKILL");
      await program.ended();
      ({ program, url } = await node());
    }
    const job = await eventually(async () => {
      const current = await read<Job>(`${url}/api/jobs/${id}`);
      return current.state === "queued" || current.state === "running" ? undefined : current;
    }, END_TIMEOUT_MS);
    expect(job).toMatchObject({ state: "succeeded", result: { model: "stripes", version: 1 } });
    if (job.attempts === 1) return false;
    const version = await read<ModelVersion>(`${url}/api/models/stripes/versions/1`);
    expect(version.lineage).toMatchObject({ callbacks: SPEC.callbacks, seed: SPEC.seed });
    program.child.kill("SIGTERM");
    expect(await program.ended()).toBe(0);
    return withStore(data, async (store) => {
      const { weights, slots } = readCheckpoint(await store.artifacts.get(job.trained!.checkpoint.digest));
      expect({ weights, slots }).toEqual({ weights: expected.weights, slots: expected.slots });
      expect(job.history.map(({ seconds: _, ...rest }) => rest)).toEqual(expected.history);
      expect(await new JobCheckpoints(store).jobIds()).toEqual([]);
      expect(await store.artifacts.list()).toHaveLength(2);
      return true;
    });
  });
});
