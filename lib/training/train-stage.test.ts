/** What the training stage leaves behind when it cannot begin. */

import { getEventListeners } from "node:events";
import { ModelVersionNotFoundError } from "../errors.ts";
import type { Call } from "../protocol/actions.ts";
import type { Job } from "../protocol/jobs.ts";
import type { JobCheckpoints } from "../store/job-checkpoints.ts";
import type { JobStore } from "../store/job-store.ts";
import { trainStage } from "./train-stage.ts";

const JOB = {
  id: "job",
  attempts: 1,
  spec: { initialWeights: { model: "base", version: 3 }, architecture: {} },
} as unknown as Job;

test("a version of initial weights that is gone leaves nothing waiting for the job's end", async () => {
  const { signal } = new AbortController();
  const stage = trainStage(
    JOB,
    {
      call: (async () => {
        throw new ModelVersionNotFoundError("base", "3", []);
      }) as Call,
      jobs: {} as JobStore,
      checkpoints: { keepOnly: async () => {} } as unknown as JobCheckpoints,
      emit: () => {},
      owner: "me",
      store: { kind: "files", directory: "/nowhere" },
      datasetsDirectory: undefined,
      datasetsMemoryBytes: 1,
      threads: 1,
      metrics: { increment: () => {}, observe: () => {}, set: () => {} },
      log: { info: () => {}, warn: () => {} },
    },
    signal,
  );
  await expect(stage).rejects.toMatchObject({ type: "MODEL_VERSION_NOT_FOUND" });
  expect(getEventListeners(signal, "abort")).toEqual([]);
});
