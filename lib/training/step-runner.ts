/**
 * Runs single steps of a network on batches of examples: compiles the step graphs, one session for each batch size,
 * feeds them, and keeps the trained state. Knows nothing of epochs.
 */

import * as ort from "onnxruntime-node";
import { bindExamples } from "../data/bind-examples.ts";
import type { Examples } from "../data/examples.ts";
import { RandomStream } from "../random/stream.ts";
import { freeCopies } from "../runtime/free-copies.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { BatchFeed } from "./batch-feed.ts";
import type { KeptWeights } from "./callbacks/callback-list.ts";
import { channelBlock } from "./channel-block.ts";
import { type DivergenceOrigin, findDivergence } from "./divergence.ts";
import { sessionProviders } from "./execution-provider.ts";
import { FusedUpdate } from "./fused-update.ts";
import { addStep, type Means, type MeasuredOutput, meansOf, noSums, type StepResult } from "./measures.ts";
import { MEASURES_PER_OUTPUT } from "./objective.ts";
import { StateBuffers, type TrainedState } from "./state-buffers.ts";
import { evaluationBatch, type StepEngine, type StepOptions, type StepSnapshot } from "./step-engine.ts";
import {
  compileEvaluationStep,
  compileTrainingStep,
  endsOf,
  planWeights,
  type WeightPlan,
} from "./step-graph.ts";

type StepSession = { session: ort.InferenceSession; feed: BatchFeed };

/**
 * How long a thread spins for the next node before it sleeps. Nodes follow one another within microseconds; spinning
 * on, as the runtime does for a millisecond, gains nothing and takes the cores from the very threads it waits for
 * wherever something else runs beside it: steps were measured three times as slow.
 */
const SPINNING = { spin_duration_us: "50", spin_backoff_max: "8" };

export class StepRunner implements StepEngine {
  readonly plan: WeightPlan;
  readonly outputs: readonly MeasuredOutput[];
  private readonly options: StepOptions;
  private readonly examples: Examples;
  /** Undefined: the update is part of the step graph. */
  private readonly fused: FusedUpdate | undefined;
  private readonly buffers: StateBuffers;
  private readonly sessions = new Map<string, Promise<StepSession>>();
  private dropout: RandomStream;
  private readonly scalars: ort.Tensor;
  private readonly lossOut = new ort.Tensor("float32", new Float32Array(1), []);
  private readonly measuresOut: ort.Tensor;
  private done = 0;
  private changedRate: number | null = null;

  /** @throws {InvalidInputError} when the data does not fit the network */
  constructor(options: StepOptions, examples: Examples) {
    const { network } = options;
    this.options = options;
    this.plan = planWeights(network);
    this.examples = bindExamples(endsOf(network, this.plan), examples, options.columns);
    this.outputs = network.outputs.map(({ name }, i) => ({
      name,
      isClasses: this.examples.targets[i]!.labelNames !== undefined,
    }));
    const measures = new Float32Array(network.outputs.length * MEASURES_PER_OUTPUT);
    this.measuresOut = new ort.Tensor("float32", measures, [measures.length]);
    const { optimizer, seed, initialWeights, provider = "cpu" } = options;
    this.fused = provider === "cpu" ? FusedUpdate.for(this.plan, optimizer) : undefined;
    this.buffers = new StateBuffers(this.plan, optimizer, seed, initialWeights, this.fused);
    this.dropout = RandomStream.named(options.seed, "dropout");
    this.scalars = new ort.Tensor("float32", new Float32Array(options.optimizer.scalarCount), [
      options.optimizer.scalarCount,
    ]);
  }

  /** Steps done. */
  get step(): number {
    return this.done;
  }

  /** The state after the last step; copies. */
  state(): TrainedState {
    return this.buffers.state(this.step);
  }

  /** The state and the stream of the steps' random tensors; copies. */
  snapshot(): StepSnapshot {
    return { state: this.state(), dropout: this.dropout.state, changedRate: this.changedRate };
  }

  /** @throws {InvalidModelError} when the snapshot is of another network or optimiser */
  restore({ state, dropout, changedRate }: StepSnapshot): void {
    this.buffers.restore(state);
    this.dropout = new RandomStream(dropout);
    this.done = state.step;
    this.changedRate = changedRate;
  }

  /** The learning rate of the next step. */
  learningRate(): number {
    return this.changedRate ?? this.options.optimizer.learningRate.at(this.done + 1);
  }

  /** Takes the place of the optimiser's own rate. */
  setLearningRate(rate: number): void {
    this.changedRate = rate;
  }

  /** What the network needs to answer; copies. */
  keptWeights(): KeptWeights {
    return this.buffers.keptWeights();
  }

  /** Goes back to weights of earlier; the optimiser's slots stay as they are. */
  adopt(kept: KeptWeights): void {
    this.buffers.adopt(kept);
  }

  /** Whether every weight and statistic is a number. */
  isFinite(): boolean {
    return this.buffers.isFinite();
  }

  /** An optimiser that averages its weights ends with the averages. */
  adoptFinalWeights(): void {
    this.buffers.adoptFinalWeights();
  }

  /**
   * Means over the given rows, with the network in evaluation mode. `atRest` is called before every batch; what it
   * throws ends the evaluation.
   */
  async evaluate(rows: Uint32Array, atRest?: () => Promise<void> | undefined): Promise<Means> {
    const sums = noSums();
    const most = evaluationBatch(this.options);
    for (let from = 0; from < rows.length; from += most) {
      await atRest?.();
      const batch = rows.subarray(from, Math.min(from + most, rows.length));
      const { session, feed } = await this.session("evaluation", batch.length);
      feed.fill(batch);
      await this.run(session, { ...feed.feeds, ...this.buffers.weightFeeds() }, this.results());
      addStep(sums, this.result(), batch.length);
    }
    return meansOf(sums, this.outputs);
  }

  /** One step on the given rows. */
  async trainBatch(rows: Uint32Array): Promise<StepResult> {
    const { session, feed } = await this.session("training", rows.length);
    feed.fill(rows);
    feed.drawMasks(this.dropout);
    const rate = this.learningRate();
    this.done++;
    const scalars = this.options.optimizer.scalars(this.step, rate);
    (this.scalars.data as Float32Array).set(scalars);
    const { feeds, fetches } = this.buffers.stepTensors();
    const written = { ...fetches, ...this.results() };
    const ownScalars = this.fused ? {} : { scalars: this.scalars };
    await this.run(session, { ...feed.feeds, ...feeds, ...ownScalars }, written);
    this.buffers.advance(scalars);
    return this.result();
  }

  /** Where the last step, of as many rows, began to give what is no number; undefined where that cannot be told. */
  async findDivergence(rows: number): Promise<DivergenceOrigin | undefined> {
    try {
      const { feed } = await this.session("training", rows);
      const { network, objective } = this.options;
      const { feeds, next } = this.buffers.aroundLastStep();
      const spec = { network, objective, batchSize: rows, data: this.examples };
      return await findDivergence({ plan: this.plan, spec, feeds: { ...feed.feeds, ...feeds }, next });
    } catch {
      // The run fails either way, and what it fails with is to be the divergence.
      return undefined;
    }
  }

  private async run(
    session: ort.InferenceSession,
    feeds: Record<string, ort.Tensor>,
    written: Record<string, ort.Tensor>,
  ): Promise<void> {
    const returned = await nativeCall(() => session.run(feeds, written));
    freeCopies(returned as Record<string, ort.Tensor>, written);
  }

  /** Where a graph of either kind writes what it reports. */
  private results(): Record<string, ort.Tensor> {
    return { loss: this.lossOut, measures: this.measuresOut };
  }

  private result(): StepResult {
    return { loss: this.lossOut.data[0] as number, measures: this.measuresOut.data as Float32Array };
  }

  /** Frees the runtime's sessions. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.sessions.values());
    this.sessions.clear();
    for (const result of opened) if (result.status === "fulfilled") await result.value.session.release();
  }

  /** Blocked layouts are the processor's. */
  private async channelBlock(): Promise<number | undefined> {
    return (this.options.provider ?? "cpu") === "cpu" ? channelBlock() : undefined;
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
    const { network, objective, optimizer, threads } = this.options;
    const spec = { network, objective, batchSize, data: this.examples };
    const compiled =
      kind === "training"
        ? compileTrainingStep(
            this.plan,
            { ...spec, channelBlock: await this.channelBlock() },
            this.fused ? undefined : optimizer,
          )
        : { bytes: compileEvaluationStep(this.plan, spec), randomInputs: [] };
    const session = await nativeCall(() =>
      ort.InferenceSession.create(compiled.bytes, {
        executionProviders: sessionProviders(this.options.provider ?? "cpu"),
        graphOptimizationLevel: "all",
        intraOpNumThreads: threads,
        logSeverityLevel: 3,
        // Vanishing moments turn denormal, which costs a hundred times the time of normal numbers.
        extra: {
          session: { set_denormal_as_zero: "1", intra_op: SPINNING },
          optimization: { disable_specified_optimizers: "NchwcTransformer" },
        },
      }),
    );
    return { session, feed: new BatchFeed(network, this.examples, batchSize, compiled.randomInputs) };
  }
}
