/**
 * The weights, moving statistics and optimiser slots of a run, in two sets of buffers that swap roles each step: one
 * is handed to the runtime as inputs, the other as pre-allocated outputs, so that no state is copied or allocated
 * while training. After a step the spare set still holds the state before it.
 */

import * as ort from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { KeptWeights } from "./callbacks/callback-list.ts";
import type { WeightPlan } from "./step-graph.ts";
import { initialWeights } from "./weight-layout.ts";

/** Flat vectors as `WeightPlan` lays them out. */
export type TrainedState = {
  /** Steps done. */
  step: number;
  weights: Float32Array;
  statistics: Float32Array;
  slots: Map<string, Float32Array>;
};

type BufferSet = { weights: ort.Tensor; statistics: ort.Tensor; slots: ort.Tensor[] };

const vector = (size: number, begin = 0) =>
  new ort.Tensor("float32", new Float32Array(size).fill(begin), [size]);
const dataOf = (tensor: ort.Tensor) => tensor.data as Float32Array;

export class StateBuffers {
  private readonly hasStatistics: boolean;
  private readonly optimizer: Optimizer;
  private current: BufferSet;
  private spare: BufferSet;

  /** The weights of `given` by their names, the others fresh, each from its own stream of `seed`. */
  constructor(
    plan: WeightPlan,
    optimizer: Optimizer,
    seed: number,
    given?: ReadonlyMap<string, Float32Array>,
  ) {
    this.hasStatistics = plan.statistics.length > 0;
    this.optimizer = optimizer;
    const buffers = (): BufferSet => ({
      weights: vector(plan.trainedLayout.size),
      statistics: vector(plan.statisticsLayout.size),
      slots: optimizer.slots.map((name) => vector(plan.trainedLayout.size, optimizer.initialSlots?.[name])),
    });
    this.current = buffers();
    this.spare = buffers();
    dataOf(this.current.weights).set(initialWeights(plan.trained, plan.trainedLayout, seed, given));
    dataOf(this.current.statistics).set(initialWeights(plan.statistics, plan.statisticsLayout, seed, given));
  }

  /** What a graph of either kind reads. */
  weightFeeds(): Record<string, ort.Tensor> {
    return weightFeeds(this.current, this.hasStatistics);
  }

  /** What a training step reads and where it writes. */
  stepTensors(): { feeds: Record<string, ort.Tensor>; fetches: Record<string, ort.Tensor> } {
    const feeds = this.weightFeeds();
    const fetches: Record<string, ort.Tensor> = { weights_next: this.spare.weights };
    for (const [i, name] of this.optimizer.slots.entries()) {
      feeds[`slot/${name}`] = this.current.slots[i]!;
      fetches[`slot_next/${name}`] = this.spare.slots[i]!;
    }
    if (this.hasStatistics) fetches.statistics_next = this.spare.statistics;
    return { feeds, fetches };
  }

  /** Takes what the step wrote for the state. */
  swap(): void {
    [this.current, this.spare] = [this.spare, this.current];
  }

  /** The state before the last step, as a step reads it, and the one after it. */
  aroundLastStep(): { feeds: Record<string, ort.Tensor>; next: KeptWeights } {
    const { weights, statistics } = this.current;
    return {
      feeds: weightFeeds(this.spare, this.hasStatistics),
      next: { weights: dataOf(weights), statistics: dataOf(statistics) },
    };
  }

  isFinite(): boolean {
    return [this.current.weights, this.current.statistics].every((tensor) =>
      dataOf(tensor).every(Number.isFinite),
    );
  }

  /** Copies. */
  state(step: number): TrainedState {
    return {
      step,
      weights: dataOf(this.current.weights).slice(),
      statistics: dataOf(this.current.statistics).slice(),
      slots: new Map(this.optimizer.slots.map((name, i) => [name, dataOf(this.current.slots[i]!).slice()])),
    };
  }

  /** @throws {InvalidModelError} when the state is of another network or optimiser */
  restore(state: TrainedState): void {
    const { current } = this;
    const set = (name: string, target: ort.Tensor, source: Float32Array | undefined) => {
      const expected = dataOf(target).length;
      if (source?.length !== expected)
        throw new InvalidModelError(
          name,
          `received ${source?.length ?? "no"} elements, expected ${expected}`,
        );
      dataOf(target).set(source);
    };
    set("weights", current.weights, state.weights);
    set("statistics", current.statistics, state.statistics);
    for (const [i, name] of this.optimizer.slots.entries())
      set(`slots/${name}`, current.slots[i]!, state.slots.get(name));
  }

  /** What a network needs to answer; copies. */
  keptWeights(): KeptWeights {
    const { weights, statistics } = this.current;
    return { weights: dataOf(weights).slice(), statistics: dataOf(statistics).slice() };
  }

  adopt({ weights, statistics }: KeptWeights): void {
    dataOf(this.current.weights).set(weights);
    dataOf(this.current.statistics).set(statistics);
  }

  /** An optimiser that averages its weights ends with the averages. */
  adoptFinalWeights(): void {
    const { slots, finalWeights } = this.optimizer;
    if (finalWeights === undefined) return;
    dataOf(this.current.weights).set(dataOf(this.current.slots[slots.indexOf(finalWeights)]!));
  }
}

function weightFeeds({ weights, statistics }: BufferSet, hasStatistics: boolean): Record<string, ort.Tensor> {
  return hasStatistics ? { weights, statistics } : { weights };
}
