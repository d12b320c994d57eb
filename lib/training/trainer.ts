/** The trainer as its service sees it: accepts jobs, answers for them, and runs those this node claims. */

import { datasetFolder, findDatasetFiles } from "../data/datasets.ts";
import type { ActionParams } from "../protocol/actions.ts";
import type { Job } from "../protocol/jobs.ts";
import type { InitialWeightsSpec } from "../protocol/weights.ts";
import { JobRunner, type RunnerOptions } from "./job-runner.ts";
import { assertFile } from "./load-weights.ts";
import { SpecReader } from "./spec-reader.ts";
import { settleVersion } from "./weight-source.ts";

export class Trainer {
  private readonly options: RunnerOptions;
  private readonly runner: JobRunner;
  private readonly reader = new SpecReader();

  constructor(options: RunnerOptions) {
    this.options = options;
    this.runner = new JobRunner(options);
    this.runner.start();
  }

  /**
   * Accepts a job; once this resolves the job is durable.
   * @throws {InvalidInputError} {InvalidModelError} {UnknownLayerError} {UnknownComponentError}
   * {DatasetNotFoundError} {DatasetCorruptError} {QueueFullError} {DeadlineExceededError} {DrainingError}
   */
  async start(request: unknown): Promise<Job> {
    const spec = await this.reader.read(request);
    const { dataset } = spec.data;
    await findDatasetFiles(dataset, datasetFolder(dataset, this.options.datasetsDirectory));
    const { initialWeights } = spec;
    const settled = initialWeights && (await this.settle(initialWeights));
    const job = await this.options.jobs.create(settled ? { ...spec, initialWeights: settled } : spec);
    this.options.emit("training.queued", { id: job.id });
    this.runner.wake();
    return job;
  }

  /** The source of initial weights, found: of a model the version as it is now. */
  private async settle(spec: InitialWeightsSpec): Promise<InitialWeightsSpec> {
    if ("file" in spec) await assertFile(spec.file, this.options.datasetsDirectory);
    return "model" in spec ? settleVersion(spec, this.options.call) : spec;
  }

  get({ id }: ActionParams<"trainer.get">): Promise<Job> {
    return this.options.jobs.get(id);
  }

  list(filter: ActionParams<"trainer.list">): Promise<Job[]> {
    return this.options.jobs.list(filter);
  }

  /** Cancels a waiting job at once, a running one within a step. @throws {JobNotFoundError} {JobStateError} */
  async cancel({ id }: ActionParams<"trainer.cancel">): Promise<Job> {
    const job = await this.options.jobs.requestCancel(id);
    if (job.state === "cancelled") this.options.emit("training.ended", { id, job });
    else {
      this.options.emit("training.cancelRequested", { id });
      this.runner.cancel(id);
    }
    return job;
  }

  /** Another node accepted a job. */
  onQueued(): void {
    this.runner.wake();
  }

  /** Another node accepted a wish to cancel. */
  onCancelRequested({ id }: { id: string }): void {
    this.runner.cancel(id);
  }

  async stop(): Promise<void> {
    await Promise.all([this.reader.close(), this.runner.stop()]);
  }
}
