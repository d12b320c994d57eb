/**
 * One training run: the loop over epochs and batches. Pure computation: no broker, no store; the caller passes data,
 * hears progress and says when to stop. Everything random comes from named streams of the run's seed: the same seed
 * on the same machine gives the same weights to the bit.
 */

import { type Examples, splitRows } from "../data/examples.ts";
import { CancelledError, TrainingDivergedError } from "../errors.ts";
import type { EpochRecord, TrainingProgress } from "../protocol/jobs.ts";
import { RandomStream } from "../random/stream.ts";
import type { TrainedState } from "./state-buffers.ts";
import type { WeightPlan } from "./step-graph.ts";
import { type StepOptions, StepRunner } from "./step-runner.ts";

export type RunOptions = StepOptions & {
  epochs: number;
  batchSize: number;
  /** Share of the examples held out for validation. */
  validationSplit: number;
};

export type RunListener = {
  /** At most ten times a second within an epoch, and at the end of epochs that are not shorter than that. */
  progress?: (progress: TrainingProgress) => void;
  epochCompleted?: (epoch: EpochRecord) => void;
  /** Asked before every step; true stops the run with `CancelledError`. */
  cancelled?: () => boolean;
};

const PROGRESS_INTERVAL_MS = 100;

export class TrainingRun {
  readonly stepsPerEpoch: number;
  private readonly options: RunOptions;
  private readonly steps: StepRunner;
  private readonly trainRows: Uint32Array;
  private readonly validationRows: Uint32Array;
  private readonly shuffle: RandomStream;
  private lastEpochReport = Number.NEGATIVE_INFINITY;

  /** @throws {InvalidInputError} when the data does not fit the network */
  constructor(options: RunOptions, examples: Examples) {
    this.options = options;
    this.steps = new StepRunner(options, examples);
    const rows = splitRows(examples.count, options.validationSplit, options.seed);
    this.trainRows = rows.train;
    this.validationRows = rows.validation;
    this.stepsPerEpoch = Math.ceil(rows.train.length / options.batchSize);
    this.shuffle = RandomStream.named(options.seed, "shuffle");
  }

  get plan(): WeightPlan {
    return this.steps.plan;
  }

  get trainExamples(): number {
    return this.trainRows.length;
  }

  get validationExamples(): number {
    return this.validationRows.length;
  }

  /**
   * Runs every epoch; afterwards the state holds the optimiser's final weights.
   * @throws {CancelledError} {TrainingDivergedError}
   */
  async run(listener: RunListener = {}): Promise<EpochRecord[]> {
    const history: EpochRecord[] = [];
    const startedAt = performance.now();
    for (let epoch = 1; epoch <= this.options.epochs; epoch++) {
      const record = await this.runEpoch(epoch, startedAt, listener);
      history.push(record);
      listener.epochCompleted?.(record);
    }
    this.steps.adoptFinalWeights();
    return history;
  }

  /** The state after the last step; copies. */
  state(): TrainedState {
    return this.steps.state();
  }

  /** Mean loss and accuracy over the given rows, with the network in evaluation mode. */
  evaluate(rows: Uint32Array): Promise<{ loss: number; accuracy: number }> {
    return this.steps.evaluate(rows);
  }

  /** One step on the given rows. Gives the batch's mean loss and how many rows it got right. */
  trainBatch(rows: Uint32Array): Promise<{ loss: number; correct: number }> {
    return this.steps.trainBatch(rows);
  }

  /** Frees the runtime's sessions. */
  close(): Promise<void> {
    return this.steps.close();
  }

  private async runEpoch(epoch: number, startedAt: number, listener: RunListener): Promise<EpochRecord> {
    const { batchSize, epochs } = this.options;
    const rows = this.trainRows.slice();
    this.shuffle.shuffle(rows);
    const epochStart = performance.now();
    let lastReport = epochStart;
    let lossSum = 0;
    let correct = 0;
    let seen = 0;
    for (let step = 1; step <= this.stepsPerEpoch; step++) {
      if (listener.cancelled?.()) throw new CancelledError("The training run");
      const batch = rows.subarray(seen, Math.min(seen + batchSize, rows.length));
      const result = await this.trainBatch(batch);
      if (!Number.isFinite(result.loss)) throw new TrainingDivergedError(epoch, step, result.loss);
      lossSum += result.loss * batch.length;
      correct += result.correct;
      seen += batch.length;
      const now = performance.now();
      const ends = step === this.stepsPerEpoch;
      const due = now - (ends ? this.lastEpochReport : lastReport) >= PROGRESS_INTERVAL_MS;
      if (due || (ends && epoch === epochs)) {
        lastReport = now;
        if (ends) this.lastEpochReport = now;
        const total = this.trainRows.length * epochs;
        const done = this.trainRows.length * (epoch - 1) + seen;
        listener.progress?.({
          epoch,
          epochs,
          step,
          stepsPerEpoch: this.stepsPerEpoch,
          loss: lossSum / seen,
          accuracy: correct / seen,
          examplesPerSecond: seen / ((now - epochStart) / 1000),
          secondsLeft: ((now - startedAt) / 1000 / done) * (total - done),
        });
      }
    }
    // Each loss is of the weights before its step; the last step's own are looked at here.
    if (!this.steps.isFinite()) throw new TrainingDivergedError(epoch, this.stepsPerEpoch, Number.NaN);
    const seconds = (performance.now() - epochStart) / 1000;
    const record: EpochRecord = { epoch, loss: lossSum / seen, accuracy: correct / seen, seconds };
    if (this.validationRows.length === 0) return record;
    const validation = await this.evaluate(this.validationRows);
    return { ...record, validationLoss: validation.loss, validationAccuracy: validation.accuracy };
  }
}
