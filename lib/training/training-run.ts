/**
 * One training run: the loop over epochs and batches. Pure computation: no broker, no store; the caller passes data,
 * hears progress and says when to stop. Everything random comes from named streams of the run's seed: the same seed
 * on the same machine gives the same weights to the bit.
 */

import { type Examples, splitRows } from "../data/examples.ts";
import { CancelledError, InvalidInputError, TrainingDivergedError } from "../errors.ts";
import type { EpochRecord, TrainingProgress } from "../protocol/jobs.ts";
import { RandomStream } from "../random/stream.ts";
import { type CallbackHost, CallbackList, figuresOf } from "./callbacks/callback-list.ts";
import { addStep, type Means, meansOf, type StepResult } from "./measures.ts";
import { epochBegin, type RunCursor, type RunSnapshot } from "./run-snapshot.ts";
import type { TrainedState } from "./state-buffers.ts";
import type { MakeEngine, StepEngine, StepOptions } from "./step-engine.ts";
import type { WeightPlan } from "./step-graph.ts";
import { StepRunner } from "./step-runner.ts";

export type RunOptions = StepOptions & {
  epochs: number;
  batchSize: number;
  /** Share of the examples held out for validation. */
  validationSplit: number;
  /** @default ONNX Runtime */
  engine?: MakeEngine | undefined;
  /** As Keras serialises them. @default none */
  callbacks?: readonly unknown[];
};

export type RunListener = {
  /** At most ten times a second within an epoch, and at the end of epochs that are not shorter than that. */
  progress?: (progress: TrainingProgress) => void;
  epochCompleted?: (epoch: EpochRecord) => void;
  /** Asked before every step, of validation too; true stops the run with `CancelledError`. */
  cancelled?: () => boolean;
  /** Called before every step of training or validation; the run waits for a promise and ends with what it throws. */
  atRest?: () => Promise<void> | undefined;
};

const PROGRESS_INTERVAL_MS = 100;

export class TrainingRun {
  readonly stepsPerEpoch: number;
  private readonly options: RunOptions;
  private readonly steps: StepEngine;
  private readonly trainRows: Uint32Array;
  private readonly validationRows: Uint32Array;
  private readonly callbacks: CallbackList;
  /** Set by a callback: no epoch follows. */
  private stopped = false;
  private history: EpochRecord[] = [];
  private cursor: RunCursor;
  /** When the cursor's times were brought up to date. */
  private countedAt = performance.now();
  private lastReport = Number.NEGATIVE_INFINITY;
  private lastEpochReport = Number.NEGATIVE_INFINITY;

  /** @throws {InvalidInputError} when the data does not fit the network, or a callback or the split the run */
  constructor(options: RunOptions, examples: Examples) {
    this.options = options;
    this.steps = options.engine?.(options, examples) ?? new StepRunner(options, examples);
    const rows = splitRows(examples.count, options.validationSplit, options.seed);
    if (options.validationSplit > 0 && rows.validation.length === 0)
      throw new InvalidInputError({
        field: "data.validationSplit",
        received: `${options.validationSplit} of ${examples.count} example`,
        expected: "at least 2 training examples: one is trained on, one held out; or 0",
      });
    this.trainRows = rows.train;
    this.validationRows = rows.validation;
    this.stepsPerEpoch = Math.ceil(rows.train.length / options.batchSize);
    this.callbacks = new CallbackList(options.callbacks ?? [], options.optimizer.learningRate);
    this.callbacks.assertMonitored(figuresOf(this.steps.outputs, rows.validation.length > 0));
    this.cursor = epochBegin(1, RandomStream.named(options.seed, "shuffle").state, 0);
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

  /** Time spent training, earlier parts of a run that was resumed included. */
  get trainSeconds(): number {
    return this.cursor.trainSeconds;
  }

  /** Whether an epoch is over and the next has not begun. */
  get betweenEpochs(): boolean {
    return this.cursor.step === 0;
  }

  /** Where the run is: the epoch under way, the steps done in all, and the epochs that are over. */
  get position(): { epoch: number; step: number; history: EpochRecord[] } {
    return { epoch: this.cursor.epoch, step: this.steps.step, history: [...this.history] };
  }

  /**
   * Runs every epoch that is left, unless a callback stops it; afterwards the state holds the weights that a callback
   * restored, or the optimiser's final ones.
   * @throws {CancelledError} {TrainingDivergedError}
   */
  async run(listener: RunListener = {}): Promise<EpochRecord[]> {
    this.countedAt = performance.now();
    while (this.cursor.epoch <= this.options.epochs && !this.stopped) {
      const record = await this.runEpoch(listener);
      this.history.push(record);
      this.callbacks.epochEnded(record, this.host);
      listener.epochCompleted?.(record);
    }
    this.steps.adoptFinalWeights();
    const kept = this.callbacks.finalWeights();
    if (kept) this.steps.adopt(kept);
    return this.history;
  }

  /** The run as it is; only between steps, as in `atRest`. Copies. */
  snapshot(): RunSnapshot {
    this.countTime();
    const { sums, ...cursor } = this.cursor;
    return {
      ...this.steps.snapshot(),
      cursor: { ...cursor, sums: structuredClone(sums) },
      history: [...this.history],
      callbacks: this.callbacks.snapshot(),
    };
  }

  /**
   * Sets a run that has not begun to where another of the same options and data was.
   * @throws {InvalidModelError} when the snapshot is of another network or optimiser; the run is then as it was
   */
  restore(snapshot: RunSnapshot): void {
    const begin = this.snapshot();
    try {
      this.set(snapshot);
    } catch (error) {
      // What fits was taken over before it came to what does not.
      this.set(begin);
      throw error;
    }
  }

  private set(snapshot: RunSnapshot): void {
    this.steps.restore(snapshot);
    this.callbacks.restore(snapshot.callbacks);
    this.cursor = { ...snapshot.cursor, sums: structuredClone(snapshot.cursor.sums) };
    this.history = [...snapshot.history];
  }

  /** The state after the last step; copies. */
  state(): TrainedState {
    return this.steps.state();
  }

  /** Means over the given rows, with the network in evaluation mode. */
  evaluate(rows: Uint32Array): Promise<Means> {
    return this.steps.evaluate(rows);
  }

  /** One step on the given rows. */
  trainBatch(rows: Uint32Array): Promise<StepResult> {
    return this.steps.trainBatch(rows);
  }

  /** Frees the runtime's sessions. */
  close(): Promise<void> {
    return this.steps.close();
  }

  private async runEpoch(listener: RunListener): Promise<EpochRecord> {
    const { cursor } = this;
    const { epoch, sums } = cursor;
    const shuffle = new RandomStream(cursor.shuffle);
    const rows = this.trainRows.slice();
    shuffle.shuffle(rows);
    this.lastReport = performance.now();
    while (cursor.step < this.stepsPerEpoch) {
      await this.rest(listener);
      const batch = rows.subarray(sums.seen, Math.min(sums.seen + this.options.batchSize, rows.length));
      const result = await this.trainBatch(batch);
      cursor.step++;
      if (!Number.isFinite(result.loss)) throw await this.diverged(batch.length, result.loss);
      addStep(sums, result, batch.length);
      this.report(listener);
    }
    // Each loss is of the weights before its step; the last step's own are looked at here.
    if (!this.steps.isFinite())
      throw await this.diverged(rows.length - (this.stepsPerEpoch - 1) * this.options.batchSize, Number.NaN);
    const validation =
      this.validationRows.length > 0
        ? await this.steps.evaluate(this.validationRows, () => this.rest(listener))
        : undefined;
    this.countTime();
    this.cursor = epochBegin(epoch + 1, shuffle.state, cursor.trainSeconds);
    return {
      epoch,
      ...meansOf(sums, this.steps.outputs),
      learningRate: this.steps.learningRate(),
      seconds: cursor.epochSeconds,
      ...(validation && validationRecord(validation)),
    };
  }

  private async diverged(rows: number, loss: number): Promise<TrainingDivergedError> {
    const { epoch, step } = this.cursor;
    return new TrainingDivergedError(epoch, step, loss, await this.steps.findDivergence(rows));
  }

  private readonly host: CallbackHost = {
    learningRate: () => this.steps.learningRate(),
    setLearningRate: (rate) => this.steps.setLearningRate(rate),
    currentWeights: () => this.steps.keptWeights(),
    stop: () => {
      this.stopped = true;
    },
  };

  private rest({ cancelled, atRest }: RunListener): Promise<void> | undefined {
    if (cancelled?.()) throw new CancelledError("The training run");
    return atRest?.();
  }

  private report(listener: RunListener): void {
    const { epoch, step, sums } = this.cursor;
    const { epochs } = this.options;
    const now = performance.now();
    const ends = step === this.stepsPerEpoch;
    const due = now - (ends ? this.lastEpochReport : this.lastReport) >= PROGRESS_INTERVAL_MS;
    if (!due && !(ends && epoch === epochs)) return;
    this.lastReport = now;
    if (ends) this.lastEpochReport = now;
    this.countTime();
    const { epochSeconds, trainSeconds } = this.cursor;
    const total = this.trainRows.length * epochs;
    const done = this.trainRows.length * (epoch - 1) + sums.seen;
    listener.progress?.({
      epoch,
      epochs,
      step,
      stepsPerEpoch: this.stepsPerEpoch,
      ...meansOf(sums, this.steps.outputs),
      learningRate: this.steps.learningRate(),
      examplesPerSecond: sums.seen / epochSeconds,
      secondsLeft: (trainSeconds / done) * (total - done),
    });
  }

  private countTime(): void {
    const now = performance.now();
    const seconds = (now - this.countedAt) / 1000;
    this.countedAt = now;
    this.cursor.epochSeconds += seconds;
    this.cursor.trainSeconds += seconds;
  }
}

function validationRecord({ loss, accuracy, outputs }: Means): Partial<EpochRecord> {
  return {
    validationLoss: loss,
    ...(accuracy !== undefined && { validationAccuracy: accuracy }),
    ...(outputs && { validationOutputs: outputs }),
  };
}
