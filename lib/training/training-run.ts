/**
 * One training run: the loop over epochs and batches, on compiled step graphs. Pure computation: no broker, no
 * store; the caller passes data, hears progress and says when to stop.
 *
 * Weights and slots live in two sets of buffers that swap roles each step, handed to the runtime as inputs and as
 * pre-allocated outputs, so that no state is copied or allocated while training. Everything random comes from
 * named streams of the run's seed: the same seed on the same machine gives the same weights to the bit.
 */

import * as ort from "onnxruntime-node";
import { type Examples, splitRows } from "../data/examples.ts";
import { CancelledError, InvalidInputError, TrainingDivergedError } from "../errors.ts";
import type { Loss } from "../nn/losses/loss.ts";
import type { Network } from "../nn/network.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { EpochRecord, TrainingProgress } from "../protocol/jobs.ts";
import { RandomStream } from "../random/stream.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { BatchFeed } from "./batch-feed.ts";
import { compileEvaluationStep, compileTrainingStep, planWeights, type WeightPlan } from "./step-graph.ts";
import { initialWeights } from "./weight-layout.ts";

export type RunOptions = {
  network: Network;
  loss: Loss;
  optimizer: Optimizer;
  epochs: number;
  batchSize: number;
  seed: number;
  /** Share of the examples held out for validation. */
  validationSplit: number;
  /** Threads one step may use. */
  threads: number;
};

export type RunListener = {
  /** At most ten times a second within an epoch, and at the end of epochs that are not shorter than that. */
  progress?: (progress: TrainingProgress) => void;
  epochCompleted?: (epoch: EpochRecord) => void;
  /** Asked before every step; true stops the run with `CancelledError`. */
  cancelled?: () => boolean;
};

/** Flat vectors as `WeightPlan` lays them out. */
export type TrainedState = {
  step: number;
  weights: Float32Array;
  statistics: Float32Array;
  slots: Map<string, Float32Array>;
};

type StepSession = { session: ort.InferenceSession; feed: BatchFeed };
type StateBuffers = { weights: ort.Tensor; statistics: ort.Tensor; slots: ort.Tensor[] };

const PROGRESS_INTERVAL_MS = 100;
const EVALUATION_BATCH = 256;

export class TrainingRun {
  readonly plan: WeightPlan;
  readonly stepsPerEpoch: number;
  private readonly options: RunOptions;
  private readonly examples: Examples;
  private readonly trainRows: Uint32Array;
  private readonly validationRows: Uint32Array;
  private readonly sessions = new Map<string, Promise<StepSession>>();
  private readonly shuffle: RandomStream;
  private readonly dropout: RandomStream;
  private readonly scalars: ort.Tensor;
  private readonly lossOut = new ort.Tensor("float32", new Float32Array(1), []);
  private readonly correctOut = new ort.Tensor("float32", new Float32Array(1), []);
  private current: StateBuffers;
  private spare: StateBuffers;
  private step = 0;
  private lastEpochReport = Number.NEGATIVE_INFINITY;

  /** @throws {InvalidInputError} when the data does not fit the network */
  constructor(options: RunOptions, examples: Examples) {
    assertFits(options.network, examples);
    this.options = options;
    this.examples = examples;
    this.plan = planWeights(options.network);
    const rows = splitRows(examples.count, options.validationSplit, options.seed);
    this.trainRows = rows.train;
    this.validationRows = rows.validation;
    this.stepsPerEpoch = Math.ceil(rows.train.length / options.batchSize);
    this.shuffle = RandomStream.named(options.seed, "shuffle");
    this.dropout = RandomStream.named(options.seed, "dropout");
    this.scalars = new ort.Tensor("float32", new Float32Array(options.optimizer.scalarCount), [
      options.optimizer.scalarCount,
    ]);
    this.current = this.newBuffers();
    this.spare = this.newBuffers();
    (this.current.weights.data as Float32Array).set(
      initialWeights(this.plan.trained, this.plan.trainedLayout, options.seed),
    );
    (this.current.statistics.data as Float32Array).set(
      initialWeights(this.plan.statistics, this.plan.statisticsLayout, options.seed),
    );
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
    this.adoptFinalWeights();
    return history;
  }

  /** The state after the last step; copies. */
  state(): TrainedState {
    const copy = (tensor: ort.Tensor) => (tensor.data as Float32Array).slice();
    return {
      step: this.step,
      weights: copy(this.current.weights),
      statistics: copy(this.current.statistics),
      slots: new Map(this.options.optimizer.slots.map((name, i) => [name, copy(this.current.slots[i]!)])),
    };
  }

  /** Mean loss and accuracy over the given rows, with the network in evaluation mode. */
  async evaluate(rows: Uint32Array): Promise<{ loss: number; accuracy: number }> {
    let loss = 0;
    let correct = 0;
    for (let from = 0; from < rows.length; from += EVALUATION_BATCH) {
      const batch = rows.subarray(from, Math.min(from + EVALUATION_BATCH, rows.length));
      const { session, feed } = await this.session("evaluation", batch.length);
      feed.fill(this.examples, batch);
      await nativeCall(() =>
        session.run(
          { ...feed.feeds, ...this.weightFeeds() },
          { loss: this.lossOut, correct: this.correctOut },
        ),
      );
      loss += (this.lossOut.data[0] as number) * batch.length;
      correct += this.correctOut.data[0] as number;
    }
    return { loss: loss / rows.length, accuracy: correct / rows.length };
  }

  /** One step on the given rows. Gives the batch's mean loss and how many rows it got right. */
  async trainBatch(rows: Uint32Array): Promise<{ loss: number; correct: number }> {
    const { session, feed } = await this.session("training", rows.length);
    feed.fill(this.examples, rows);
    feed.drawMasks(this.dropout);
    this.step++;
    (this.scalars.data as Float32Array).set(this.options.optimizer.scalars(this.step));
    const { slots } = this.options.optimizer;
    const feeds: Record<string, ort.Tensor> = { ...feed.feeds, ...this.weightFeeds(), scalars: this.scalars };
    const fetches: Record<string, ort.Tensor> = {
      loss: this.lossOut,
      correct: this.correctOut,
      weights_next: this.spare.weights,
    };
    for (const [i, name] of slots.entries()) {
      feeds[`slot/${name}`] = this.current.slots[i]!;
      fetches[`slot_next/${name}`] = this.spare.slots[i]!;
    }
    if (this.plan.statistics.length > 0) fetches.statistics_next = this.spare.statistics;
    await nativeCall(() => session.run(feeds, fetches));
    [this.current, this.spare] = [this.spare, this.current];
    return { loss: this.lossOut.data[0] as number, correct: this.correctOut.data[0] as number };
  }

  /** Frees the runtime's sessions. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.sessions.values());
    this.sessions.clear();
    for (const result of opened) if (result.status === "fulfilled") await result.value.session.release();
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
    for (const { data } of [this.current.weights, this.current.statistics])
      if (!(data as Float32Array).every(Number.isFinite))
        throw new TrainingDivergedError(epoch, this.stepsPerEpoch, Number.NaN);
    const seconds = (performance.now() - epochStart) / 1000;
    const record: EpochRecord = { epoch, loss: lossSum / seen, accuracy: correct / seen, seconds };
    if (this.validationRows.length === 0) return record;
    const validation = await this.evaluate(this.validationRows);
    return { ...record, validationLoss: validation.loss, validationAccuracy: validation.accuracy };
  }

  /** A run that averages its weights ends with the averages. */
  private adoptFinalWeights(): void {
    const { slots, finalWeights } = this.options.optimizer;
    if (finalWeights === undefined) return;
    const average = this.current.slots[slots.indexOf(finalWeights)]!.data as Float32Array;
    (this.current.weights.data as Float32Array).set(average);
  }

  private weightFeeds(): Record<string, ort.Tensor> {
    return this.plan.statistics.length > 0
      ? { weights: this.current.weights, statistics: this.current.statistics }
      : { weights: this.current.weights };
  }

  /** The session for a kind of step and a batch size; the last, smaller batch of an epoch has one of its own. */
  private session(kind: "training" | "evaluation", batchSize: number): Promise<StepSession> {
    const key = `${kind}/${batchSize}`;
    let pending = this.sessions.get(key);
    if (!pending) {
      pending = this.compile(kind, batchSize);
      this.sessions.set(key, pending);
    }
    return pending;
  }

  private async compile(kind: "training" | "evaluation", batchSize: number): Promise<StepSession> {
    const { network, loss, optimizer, threads } = this.options;
    const options = { network, loss, batchSize, featureType: this.examples.featureType };
    const compiled =
      kind === "training"
        ? compileTrainingStep(this.plan, options, optimizer)
        : { bytes: compileEvaluationStep(this.plan, options), randomInputs: [] };
    const session = await nativeCall(() =>
      ort.InferenceSession.create(compiled.bytes, {
        graphOptimizationLevel: "all",
        intraOpNumThreads: threads,
        logSeverityLevel: 3,
        // Vanishing moments turn denormal, which costs a hundred times the time of normal numbers.
        extra: {
          session: { set_denormal_as_zero: "1" },
          optimization: { disable_specified_optimizers: "NchwcTransformer" },
        },
      }),
    );
    return {
      session,
      feed: new BatchFeed(network, this.examples.featureType, batchSize, compiled.randomInputs),
    };
  }

  private newBuffers(): StateBuffers {
    const vector = (size: number, begin = 0) =>
      new ort.Tensor("float32", new Float32Array(size).fill(begin), [size]);
    const { slots, initialSlots } = this.options.optimizer;
    return {
      weights: vector(this.plan.trainedLayout.size),
      statistics: vector(this.plan.statisticsLayout.size),
      slots: slots.map((name) => vector(this.plan.trainedLayout.size, initialSlots?.[name])),
    };
  }
}

function assertFits(network: Network, examples: Examples): void {
  if (network.inputs[0]!.shape.join() !== examples.featureShape.join())
    throw new InvalidInputError({
      field: "data",
      received: `examples of shape [${examples.featureShape.join(",")}]`,
      expected: `[${network.inputs[0]!.shape.join(",")}], the network's input`,
    });
  const outputs = planWeights(network).outputShape.at(-1)!;
  // One output tells two classes apart.
  const classes = Math.max(outputs, 2);
  let most = 0;
  for (const label of examples.labels) if (label > most) most = label;
  if (most >= classes)
    throw new InvalidInputError({
      field: "data.labels",
      received: `label ${most}`,
      expected: `0 to ${classes - 1}: the network has ${outputs} outputs`,
    });
}
