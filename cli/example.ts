/**
 * The example every start shows: the MNIST network of examples/mnist, from raw data to an answer over HTTP. It
 * only calls services and hears events, so it runs the same in one process and through a cluster.
 */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import cnn from "../examples/mnist/cnn.json" with { type: "json" };
import { loadTestExamples } from "../lib/data/datasets.ts";
import { rowsOf } from "../lib/data/examples.ts";
import { ExecutionError, errorType, UnavailableError } from "../lib/errors.ts";
import type { Job } from "../lib/protocol/jobs.ts";
import type { ModelVersion } from "../lib/protocol/models.ts";
import { callOf } from "../mixins/config.ts";
import { followJob } from "./job-progress.ts";

export const EXAMPLE_MODEL = "mnist";
const DATASET = "mnist";
/** How long a version may take to be loaded. */
const READY_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

/** The version that answers as "mnist", or undefined before any was published. */
export async function publishedExample(broker: ServiceBroker): Promise<ModelVersion | undefined> {
  try {
    return await callOf(broker)("registry.version", { model: EXAMPLE_MODEL });
  } catch (error) {
    if (["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND"].includes(errorType(error))) return undefined;
    throw error;
  }
}

/** Trains and publishes the example, showing how it goes. An unfinished job from an earlier start is followed. */
export async function trainExample(broker: ServiceBroker, epochs: number): Promise<ModelVersion> {
  const call = callOf(broker);
  const job =
    (await unfinishedExample(broker)) ??
    (await call("trainer.start", {
      model: EXAMPLE_MODEL,
      architecture: cnn,
      data: { dataset: DATASET },
      loss: "sparse_categorical_crossentropy",
      optimizer: { class_name: "Adam", config: { learning_rate: 0.001 } },
      epochs,
      batchSize: 32,
    }));
  const ended = await followJob(broker, job);
  if (ended.state !== "succeeded" || !ended.result)
    throw new ExecutionError("Training the example", ended.error?.message ?? `it was ${ended.state}`);
  return call("registry.version", { model: EXAMPLE_MODEL, version: String(ended.result.version) });
}

async function unfinishedExample(broker: ServiceBroker): Promise<Job | undefined> {
  for (const state of ["running", "queued"] as const) {
    const jobs = await callOf(broker)("trainer.list", { state });
    const job = jobs.find(({ spec }) => spec.model === EXAMPLE_MODEL);
    if (job) return job;
  }
  return undefined;
}

/** Waits until the inference service answers for this version. */
export async function untilServed(broker: ServiceBroker, { model, version }: ModelVersion): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  let reason = "it was not asked yet";
  while (Date.now() < deadline) {
    try {
      const readiness = await callOf(broker)("inference.ready", { model, version: String(version) });
      if (readiness.ready) return;
      reason = readiness.reason;
    } catch (error) {
      reason = (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new UnavailableError(`Model '${model}' version ${version}`, reason);
}

export type FirstPrediction = { prediction: number; label: number; curl: string };

/** Asks the gateway about the first test image, as the printed curl line does. */
export async function firstPrediction(url: string, directory: string): Promise<FirstPrediction> {
  const test = await loadTestExamples(DATASET, undefined);
  const [images, labels] = [test.inputs[0]!, test.targets[0]!];
  const [height, width] = images.shape as [number, number];
  const pixels = rowsOf(images, Uint32Array.of(0)) as Uint8Array;
  const image = Array.from({ length: height }, (_, y) => [...pixels.subarray(y * width, (y + 1) * width)]);
  const body = JSON.stringify({ image });
  const file = join(directory, "example-digit.json");
  await writeFile(file, `${body}\n`);
  const response = await fetch(`${url}/predict`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  const answer = (await response.json()) as { prediction?: number; error?: string };
  if (answer.prediction === undefined)
    throw new ExecutionError("The first prediction", `${response.status}, ${answer.error}`);
  const curl = `curl -s ${url}/predict -H 'content-type: application/json' -d @${shellQuoted(file)}`;
  return { prediction: answer.prediction, label: Number(rowsOf(labels, Uint32Array.of(0))[0]), curl };
}

function shellQuoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
