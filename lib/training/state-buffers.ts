/**
 * The weights, moving statistics and optimiser slots of a run, in two sets of buffers that swap roles each step: one
 * is handed to the runtime as inputs, the other as pre-allocated outputs, so that no state is copied or allocated
 * while training. After a step the spare set still holds the weights and statistics before it, but the slots only
 * where they are the graph's to write: an update outside it changes them in place.
 */

import * as ort from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { KeptWeights } from "./callbacks/callback-list.ts";
import type { FusedUpdate } from "./fused-update.ts";
import type { WeightPlan } from "./step-graph.ts";
import { initialWeights, pieceShape, piecesOf, type WeightPiece } from "./weight-layout.ts";

/** Flat vectors as `WeightPlan` lays them out. */
export type TrainedState = {
  /** Steps done. */
  step: number;
  weights: Float32Array;
  statistics: Float32Array;
  slots: Map<string, Float32Array>;
};

type Tensors = Record<string, ort.Tensor>;
type BufferSet = { weights: ort.Tensor; statistics: ort.Tensor; slots: ort.Tensor[] };
type FusedTensors = { weights: ReadonlyMap<Float32Array, Tensors>; gradients: Tensors };

const vector = (data: Float32Array) => new ort.Tensor("float32", data, [data.length]);
const dataOf = (tensor: ort.Tensor) => tensor.data as Float32Array;

export class StateBuffers {
  private readonly hasStatistics: boolean;
  private readonly optimizer: Optimizer;
  private readonly fused: FusedUpdate | undefined;
  private readonly pieces: FusedTensors | undefined;
  private current: BufferSet;
  private spare: BufferSet;

  /**
   * The weights of `given` by their names, the others fresh, each from its own stream of `seed`. Weights and slots lie
   * in the vectors of the update outside the graph, if there is one.
   */
  constructor(
    plan: WeightPlan,
    optimizer: Optimizer,
    seed: number,
    given?: ReadonlyMap<string, Float32Array>,
    fused?: FusedUpdate,
  ) {
    this.hasStatistics = plan.statistics.length > 0;
    this.optimizer = optimizer;
    this.fused = fused;
    const { size } = plan.trainedLayout;
    this.pieces = fused && fusedTensors(fused, piecesOf(plan.trainedLayout));
    const buffers = (set: 0 | 1): BufferSet => ({
      weights: vector(fused?.weights[set] ?? new Float32Array(size)),
      statistics: vector(new Float32Array(plan.statisticsLayout.size)),
      slots: optimizer.slots.map((name, i) =>
        vector((fused?.slots[i] ?? new Float32Array(size)).fill(optimizer.initialSlots?.[name] ?? 0)),
      ),
    });
    this.current = buffers(0);
    this.spare = buffers(1);
    dataOf(this.current.weights).set(initialWeights(plan.trained, plan.trainedLayout, seed, given));
    dataOf(this.current.statistics).set(initialWeights(plan.statistics, plan.statisticsLayout, seed, given));
  }

  /** What a graph of either kind reads. */
  weightFeeds(): Tensors {
    return weightFeeds(this.current, this.hasStatistics);
  }

  /** What a training step reads and where it writes. */
  stepTensors(): { feeds: Tensors; fetches: Tensors } {
    const { pieces } = this;
    if (pieces) {
      const feeds = { ...pieces.weights.get(dataOf(this.current.weights)) };
      const fetches = { ...pieces.gradients };
      if (this.hasStatistics) {
        feeds.statistics = this.current.statistics;
        fetches.statistics_next = this.spare.statistics;
      }
      return { feeds, fetches };
    }
    const feeds = this.weightFeeds();
    const fetches: Tensors = { weights_next: this.spare.weights };
    for (const [i, name] of this.optimizer.slots.entries()) {
      feeds[`slot/${name}`] = this.current.slots[i]!;
      fetches[`slot_next/${name}`] = this.spare.slots[i]!;
    }
    if (this.hasStatistics) fetches.statistics_next = this.spare.statistics;
    return { feeds, fetches };
  }

  /** Takes what the step wrote for the state, updated with `scalars` where the graph has not. */
  advance(scalars: readonly number[]): void {
    this.fused?.run(dataOf(this.current.weights), scalars);
    [this.current, this.spare] = [this.spare, this.current];
  }

  /** The state before the last step, as a step reads it, and the one after it. */
  aroundLastStep(): { feeds: Tensors; next: KeptWeights } {
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

/** Views on the vectors of the update, piece by piece. */
function fusedTensors({ weights, gradient }: FusedUpdate, pieces: readonly WeightPiece[]): FusedTensors {
  const views = (role: string, flat: Float32Array): Tensors =>
    Object.fromEntries(
      pieces.map((piece, i) => {
        const data = flat.subarray(piece.offset, piece.offset + piece.size);
        return [`${role}/${i}`, new ort.Tensor("float32", data, pieceShape(piece))];
      }),
    );
  return {
    weights: new Map(weights.map((flat) => [flat, views("weights", flat)])),
    gradients: views("gradient", gradient),
  };
}

function weightFeeds({ weights, statistics }: BufferSet, hasStatistics: boolean): Tensors {
  return hasStatistics ? { weights, statistics } : { weights };
}
