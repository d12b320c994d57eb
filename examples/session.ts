/**
 * Runs examples on a real embedded node: registry, trainer, converter and evaluator in this process. What they make
 * goes into the folder `examples` of the data directory; data sets that were given by the environment stay as they are.
 */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { ServiceBroker } from "moleculer";
import { startNode, stopNode } from "../cli/node.ts";
import { readConfig } from "../lib/config.ts";
import { ExecutionError } from "../lib/errors.ts";
import type { EpochRecord, Job } from "../lib/protocol/jobs.ts";
import { callOf } from "../mixins/config.ts";
import type { ExampleSession } from "./example.ts";

const POLL_MS = 100;

/** Starts a node, lets `work` train on it, and stops it. */
export async function withSession<T>(
  options: { smoke: boolean; say: (text: string) => void },
  work: (session: ExampleSession) => Promise<T>,
): Promise<T> {
  const given = readConfig(process.env);
  const directory = join(given.store.kind === "files" ? given.store.directory : "data", "examples");
  const datasetsDirectory = join(directory, "datasets");
  await mkdir(datasetsDirectory, { recursive: true });
  const config = readConfig({
    MOIETY_LOG_LEVEL: given.logLevel,
    MOIETY_TRAINER_THREADS: String(given.trainer.threads),
    MOIETY_DATA_DIR: join(directory, "store"),
    MOIETY_DATASETS_DIR: datasetsDirectory,
  });
  const broker = await startNode(config, ["registry", "converter", "evaluator", "trainer"]);
  try {
    const { smoke, say } = options;
    return await work({
      smoke,
      datasetsDirectory,
      say,
      async train(request) {
        const job = await followed(broker, await callOf(broker)("trainer.start", request), say);
        if (job.state !== "succeeded" || !job.result)
          throw new ExecutionError(`Training ${request.model}`, job.error?.message ?? `it was ${job.state}`);
        const { model, version } = job.result;
        return callOf(broker)("registry.version", { model, version: String(version) });
      },
    });
  } finally {
    await stopNode(broker);
  }
}

/** Waits for the job's end; says each epoch, of many every tenth. */
async function followed(broker: ServiceBroker, started: Job, say: (text: string) => void): Promise<Job> {
  const { model, epochs } = started.spec;
  const every = Math.max(1, Math.round(epochs / 10));
  for (let said = 0; ; await wait(POLL_MS)) {
    const job = await callOf(broker)("trainer.get", { id: started.id });
    for (const record of job.history.slice(said))
      if (record.epoch % every === 0 || record.epoch === epochs) say(`${model}: ${lineOf(record, epochs)}`);
    said = job.history.length;
    if (["succeeded", "failed", "cancelled"].includes(job.state)) return job;
  }
}

function lineOf(record: EpochRecord, epochs: number): string {
  const facts = [
    ["loss", record.loss],
    ["accuracy", record.accuracy],
    ["validation loss", record.validationLoss],
    ["validation accuracy", record.validationAccuracy],
  ] as const;
  const shown = facts.flatMap(([name, value]) => (value === undefined ? [] : `${name} ${value.toFixed(4)}`));
  return `epoch ${record.epoch}/${epochs}, ${record.seconds.toFixed(1)} s, ${shown.join(", ")}`;
}
