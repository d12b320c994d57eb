/**
 * Runs single steps of a network on batches of examples: compiles the step graphs, one session for each batch size,
 * feeds them, and keeps the trained state. Knows nothing of epochs.
 */

import * as ort from "onnxruntime-node";
import type { Examples } from "../data/examples.ts";
import { InvalidInputError } from "../errors.ts";
import type { Loss } from "../nn/losses/loss.ts";
import type { Network } from "../nn/network.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import { RandomStream } from "../random/stream.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { BatchFeed } from "./batch-feed.ts";
import type { RunSnapshot } from "./run-snapshot.ts";
import { StateBuffers, type TrainedState } from "./state-buffers.ts";
import { compileEvaluationStep, compileTrainingStep, planWeights, type WeightPlan } from "./step-graph.ts";

export type StepOptions = {
  network: Network;
  loss: Loss;
  optimizer: Optimizer;
  seed: number;
  /** Threads one step may use. */
  threads: number;
};

type StepSession = { session: ort.InferenceSession; feed: BatchFeed };

const EVALUATION_BATCH = 256;

export class StepRunner {
  readonly plan: WeightPlan;
  private readonly options: StepOptions;
  private readonly examples: Examples;
  private readonly buffers: StateBuffers;
  private readonly sessions = new Map<string, Promise<StepSession>>();
  private dropout: RandomStream;
  private readonly scalars: ort.Tensor;
  private readonly lossOut = new ort.Tensor("float32", new Float32Array(1), []);
  private readonly correctOut = new ort.Tensor("float32", new Float32Array(1), []);
  private done = 0;

  /** @throws {InvalidInputError} when the data does not fit the network */
  constructor(options: StepOptions, examples: Examples) {
    assertFits(options.network, examples);
    this.options = options;
    this.examples = examples;
    this.plan = planWeights(options.network);
    this.buffers = new StateBuffers(this.plan, options.optimizer, options.seed);
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
  snapshot(): Pick<RunSnapshot, "state" | "dropout"> {
    return { state: this.state(), dropout: this.dropout.state };
  }

  /** @throws {InvalidModelError} when the snapshot is of another network or optimiser */
  restore({ state, dropout }: Pick<RunSnapshot, "state" | "dropout">): void {
    this.buffers.restore(state);
    this.dropout = new RandomStream(dropout);
    this.done = state.step;
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
   * Mean loss and accuracy over the given rows, with the network in evaluation mode. `atRest` is called before every
   * batch; what it throws ends the evaluation.
   */
  async evaluate(
    rows: Uint32Array,
    atRest?: () => Promise<void> | undefined,
  ): Promise<{ loss: number; accuracy: number }> {
    let loss = 0;
    let correct = 0;
    for (let from = 0; from < rows.length; from += EVALUATION_BATCH) {
      await atRest?.();
      const batch = rows.subarray(from, Math.min(from + EVALUATION_BATCH, rows.length));
      const { session, feed } = await this.session("evaluation", batch.length);
      feed.fill(this.examples, batch);
      await nativeCall(() =>
        session.run(
          { ...feed.feeds, ...this.buffers.weightFeeds() },
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
    this.done++;
    (this.scalars.data as Float32Array).set(this.options.optimizer.scalars(this.step));
    const { feeds, fetches } = this.buffers.stepTensors();
    await nativeCall(() =>
      session.run(
        { ...feed.feeds, ...feeds, scalars: this.scalars },
        { ...fetches, loss: this.lossOut, correct: this.correctOut },
      ),
    );
    this.buffers.swap();
    return { loss: this.lossOut.data[0] as number, correct: this.correctOut.data[0] as number };
  }

  /** Frees the runtime's sessions. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.sessions.values());
    this.sessions.clear();
    for (const result of opened) if (result.status === "fulfilled") await result.value.session.release();
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
