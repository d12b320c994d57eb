/**
 * The second engine: steps of a network that TensorFlow.js builds from the same Keras JSON, from the same fresh
 * weights, on the same batches and with the same losses as ONNX Runtime's. Gradients are TensorFlow.js's own and its
 * optimisers apply them. The state lies in its variables; what leaves the engine is in Moiety's layout.
 *
 * Dropout draws from the run's stream: repeatable on this engine; on networks of images its masks fall on other
 * elements than on ONNX Runtime, which draws them in the order of axes that it works in.
 */

import type * as Core from "@tensorflow/tfjs-core";
import type { LayersModel } from "@tensorflow/tfjs-layers";
import { bindExamples } from "../../data/bind-examples.ts";
import type { Examples } from "../../data/examples.ts";
import { InvalidModelError } from "../../errors.ts";
import { RandomStream } from "../../random/stream.ts";
import { castArray } from "../../tensor/cast.ts";
import type { NumericArray } from "../../tensor/datatype.ts";
import { BatchFeed } from "../batch-feed.ts";
import type { KeptWeights } from "../callbacks/callback-list.ts";
import { addStep, type Means, type MeasuredOutput, meansOf, noSums, type StepResult } from "../measures.ts";
import type { TrainedState } from "../state-buffers.ts";
import { evaluationBatch, type StepEngine, type StepOptions, type StepSnapshot } from "../step-engine.ts";
import { endsOf, planWeights, type WeightPlan } from "../step-graph.ts";
import { initialWeights } from "../weight-layout.ts";
import type { Tfjs } from "./load-tfjs.ts";
import type { TfjsLoss } from "./losses.ts";
import { setRate, slotOf, type TfjsOptimizer } from "./optimizers.ts";
import type { MaskSource } from "./own-layers.ts";
import { type Fed, type MeasuredLoss, measure } from "./tfjs-measures.ts";
import type { LastActivation } from "./translate-model.ts";
import { assignFlat, flatOf, variablesOf } from "./weights.ts";

type Tensor = Core.Tensor;

/** A model and what it is trained with, as TensorFlow.js has them. */
export type TfjsParts = {
  tf: Tfjs;
  model: LayersModel;
  /** Of each output. */
  activations: readonly (LastActivation | undefined)[];
  losses: readonly TfjsLoss[];
  optimizer: TfjsOptimizer;
  masks: MaskSource;
};

export class TfjsEngine implements StepEngine {
  readonly plan: WeightPlan;
  readonly outputs: readonly MeasuredOutput[];
  private readonly parts: TfjsParts;
  private readonly options: StepOptions;
  private readonly examples: Examples;
  private readonly optimizer: Core.Optimizer;
  private readonly weights: Core.Variable[];
  private readonly statistics: Core.Variable[];
  private readonly feeds = new Map<number, BatchFeed>();
  private done = 0;
  private changedRate: number | null = null;

  /** @throws {InvalidInputError} when the data does not fit the network */
  constructor(parts: TfjsParts, options: StepOptions, examples: Examples) {
    const { network, seed, initialWeights: given } = options;
    const { tf, model } = parts;
    this.parts = parts;
    this.options = options;
    this.plan = planWeights(network);
    this.examples = bindExamples(endsOf(network, this.plan), examples, options.columns);
    this.outputs = network.outputs.map(({ name }, i) => ({
      name,
      isClasses: this.examples.targets[i]!.labelNames !== undefined,
    }));
    const { trained, trainedLayout, statistics, statisticsLayout } = this.plan;
    this.weights = variablesOf(model, trained);
    this.statistics = variablesOf(model, statistics);
    this.setWeights({
      weights: initialWeights(trained, trainedLayout, seed, given),
      statistics: initialWeights(statistics, statisticsLayout, seed, given),
    });
    this.optimizer = parts.optimizer.make(tf);
    for (const { name, begin } of parts.optimizer.slots)
      slotOf(this.optimizer, name).push(
        ...this.weights.map((weight) => ({
          originalName: `${weight.name}/${name}`,
          variable: tf.tidy(() => tf.variable(tf.fill(weight.shape, begin), false)),
        })),
      );
  }

  get step(): number {
    return this.done;
  }

  state(): TrainedState {
    const { trained, trainedLayout } = this.plan;
    const slots = new Map(
      this.parts.optimizer.slots.map(({ name }) => [name, flatOf(this.slot(name), trained, trainedLayout)]),
    );
    return { step: this.done, ...this.keptWeights(), slots };
  }

  snapshot(): StepSnapshot {
    const { stream } = this.parts.masks;
    return { state: this.state(), dropout: stream.state, changedRate: this.changedRate };
  }

  restore({ state, dropout, changedRate }: StepSnapshot): void {
    const { tf, masks, optimizer } = this.parts;
    const { trained, trainedLayout, statisticsLayout } = this.plan;
    const assertSize = (name: string, received: Float32Array | undefined, expected: number) => {
      if (received?.length === expected) return received;
      throw new InvalidModelError(
        name,
        `received ${received?.length ?? "no"} elements, expected ${expected}`,
      );
    };
    const slots = optimizer.slots.map(
      ({ name }) => [name, assertSize(`slots/${name}`, state.slots.get(name), trainedLayout.size)] as const,
    );
    this.setWeights({
      weights: assertSize("weights", state.weights, trainedLayout.size),
      statistics: assertSize("statistics", state.statistics, statisticsLayout.size),
    });
    for (const [name, flat] of slots) assignFlat(tf, this.slot(name), trained, trainedLayout, flat);
    masks.stream = new RandomStream(dropout);
    this.done = state.step;
    this.changedRate = changedRate;
  }

  learningRate(): number {
    return this.changedRate ?? this.options.optimizer.learningRate.at(this.done + 1);
  }

  setLearningRate(rate: number): void {
    this.changedRate = rate;
  }

  keptWeights(): KeptWeights {
    const { trained, trainedLayout, statistics, statisticsLayout } = this.plan;
    return {
      weights: flatOf(this.weights, trained, trainedLayout),
      statistics: flatOf(this.statistics, statistics, statisticsLayout),
    };
  }

  adopt(kept: KeptWeights): void {
    this.setWeights(kept);
  }

  isFinite(): boolean {
    return [...this.weights, ...this.statistics].every((variable) =>
      (variable.dataSync() as Float32Array).every(Number.isFinite),
    );
  }

  /** Averaged weights are an option that this engine refuses. */
  adoptFinalWeights(): void {}

  async evaluate(rows: Uint32Array, atRest?: () => Promise<void> | undefined): Promise<Means> {
    const { tf } = this.parts;
    const sums = noSums();
    const most = evaluationBatch(this.options);
    for (let from = 0; from < rows.length; from += most) {
      await atRest?.();
      const batch = rows.subarray(from, Math.min(from + most, rows.length));
      const feed = this.filled(batch);
      const { loss, measures } = tf.tidy(() => this.forward(feed, false));
      addStep(sums, await results(loss, measures), batch.length);
    }
    return meansOf(sums, this.outputs);
  }

  async trainBatch(rows: Uint32Array): Promise<StepResult> {
    const { tf, optimizer } = this.parts;
    const feed = this.filled(rows);
    const rate = this.learningRate();
    this.done++;
    const [scaled] = this.options.optimizer.scalars(this.done, rate) as [number];
    let measures: Tensor | undefined;
    const { value, grads } = tf.variableGrads(() => {
      const measured = tf.tidy(() => this.forward(feed, true));
      measures = tf.keep(measured.measures);
      return measured.loss as Core.Scalar;
    }, this.weights);
    tf.tidy(() => {
      const gradients = this.weights.map((weight) => {
        const gradient = grads[weight.name] ?? tf.zerosLike(weight);
        return [weight.name, optimizer.scalesGradients ? tf.mul(gradient, scaled) : gradient] as const;
      });
      if (!optimizer.scalesGradients) setRate(this.optimizer, scaled);
      this.optimizer.applyGradients(Object.fromEntries(gradients));
    });
    tf.dispose(grads);
    return results(value, measures!);
  }

  /** Only ONNX Runtime's graphs can be looked into. */
  async findDivergence(): Promise<undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    this.optimizer.dispose();
    this.parts.model.dispose();
    this.feeds.clear();
  }

  private slot(name: string): Core.Variable[] {
    return slotOf(this.optimizer, name).map(({ variable }) => variable);
  }

  private setWeights({ weights, statistics }: KeptWeights): void {
    const { tf } = this.parts;
    const { plan } = this;
    assignFlat(tf, this.weights, plan.trained, plan.trainedLayout, weights);
    assignFlat(tf, this.statistics, plan.statistics, plan.statisticsLayout, statistics);
  }

  private filled(rows: Uint32Array): BatchFeed {
    let feed = this.feeds.get(rows.length);
    if (!feed) {
      feed = new BatchFeed(this.options.network, this.examples, rows.length, []);
      this.feeds.set(rows.length, feed);
    }
    feed.fill(rows);
    return feed;
  }

  /** The network on a batch, and its loss. */
  private forward(feed: BatchFeed, training: boolean): MeasuredLoss {
    const { tf, model, activations, losses } = this.parts;
    const { network, objective } = this.options;
    const inputs = network.inputs.map(({ name, datatype }) =>
      tensorOf(tf, feed, `input/${name}`, datatype === "INT32" ? "int32" : "float32"),
    );
    const given = model.apply(inputs.length === 1 ? inputs[0]! : inputs, { training }) as Tensor | Tensor[];
    const outputs = (Array.isArray(given) ? given : [given]).map((scores, i) => ({
      scores,
      activation: activations[i],
    }));
    const fed: Fed = {
      targets: network.outputs.map(({ name }, i) => {
        const { isClasses } = this.outputs[i]!;
        return { values: tensorOf(tf, feed, `target/${name}`, isClasses ? "int32" : "float32"), isClasses };
      }),
      exampleWeights: this.examples.weights && tensorOf(tf, feed, "example_weights", "float32"),
      training,
    };
    return measure(tf, objective, losses, outputs, fed);
  }
}

/** A tensor of what is fed; a copy, because the feed is filled again. */
function tensorOf(tf: Tfjs, { feeds }: BatchFeed, name: string, dtype: "float32" | "int32"): Tensor {
  const { data, dims } = feeds[name]!;
  const cast = castArray(data as NumericArray, dtype === "int32" ? "INT32" : "FP32");
  const values = cast === data ? cast.slice() : cast;
  return tf.tensor(values as Float32Array | Int32Array, [...dims], dtype);
}

async function results(loss: Tensor, measures: Tensor): Promise<StepResult> {
  const [value, each] = await Promise.all([loss.data(), measures.data()]);
  loss.dispose();
  measures.dispose();
  return { loss: value[0]!, measures: Float32Array.from(each) };
}
