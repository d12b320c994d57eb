/** A job's record says as much of its epochs as it has room for, and never more. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EpochRecord, TrainingSpec } from "../protocol/jobs.ts";
import { JobCheckpoints } from "../store/job-checkpoints.ts";
import { JobStore } from "../store/job-store.ts";
import { openStore } from "../store/open-store.ts";
import { TrainingRecord } from "./training-record.ts";

const SPEC: TrainingSpec = {
  model: "m",
  architecture: { class_name: "Sequential", config: {} },
  data: { dataset: "d" },
  loss: "mse",
  optimizer: { class_name: "SGD", config: {} },
  epochs: 5000,
  batchSize: 1,
  seed: 0,
  promote: true,
};

/** As a network of so many outputs records an epoch. */
function epochOf(epoch: number, outputs: number): EpochRecord {
  const score = { loss: 1 / 3, accuracy: 2 / 3 };
  const each = Object.fromEntries(Array.from({ length: outputs }, (_, i) => [`output_${i}`, score]));
  return {
    epoch,
    loss: 1 / 3,
    learningRate: 1 / 9,
    seconds: 1 / 7,
    ...(outputs > 1 && { outputs: each, validationOutputs: each }),
  };
}

test.each([1, 40])("the last epochs of %d outputs are recorded, however many there are", async (outputs) => {
  const directory = await mkdtemp(join(tmpdir(), "moiety-record-"));
  const store = await openStore({ kind: "files", directory });
  try {
    const jobs = new JobStore(store.records, { leaseMs: 60_000, maxQueued: 1 });
    const { id } = await jobs.create(SPEC);
    await jobs.claim("me");
    const warnings: string[] = [];
    const record = new TrainingRecord({
      id,
      owner: "me",
      jobs,
      checkpoints: new JobCheckpoints(store),
      log: { warn: (message) => warnings.push(message) },
      onLost: () => {},
    });
    const history = Array.from({ length: 2000 }, (_, i) => epochOf(i + 1, outputs));
    for (const epoch of history) record.epoch(epoch);
    record.checkpoint({ digest: `sha256:${"0".repeat(64)}`, size: 1, epoch: 2000, step: 2000 });
    await record.settled();
    expect(warnings).toEqual([]);
    expect((await jobs.get(id)).history.at(-1)).toEqual(history.at(-1));

    const dataset = { name: "d", digest: "x", trainExamples: 1, validationExamples: 0, testExamples: 1 };
    const checkpoint = { digest: `sha256:${"1".repeat(64)}`, size: 1 };
    await record.trained({ checkpoint, dataset, trainSeconds: 1 }, history);
    const kept = (await jobs.get(id)).history;
    expect(kept).toEqual(history.slice(-kept.length));
    if (outputs === 1) expect(kept.length).toBe(1000);
    else expect(kept.length).toBeGreaterThan(20);
  } finally {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
});
