/**
 * What a layer is: it reads its Keras config once, then appends its nodes to any graph, training or inference.
 *
 * Shapes are always spoken of as Keras does (channels last unless a layer says otherwise); the axes may be kept in
 * another order in memory (convolutions work on [N, C, H, W]), which `LayerValue.order` records, so that a
 * transposition is only inserted where a layer needs another order.
 */

import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { Dim } from "../onnx/graph.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { Constraint } from "./constraints.ts";
import type { Fans, Initializer } from "./initializers.ts";
import type { Regularizer } from "./regularizers.ts";

export type LayerValue = {
  value: Value;
  /** Axis i in memory is axis order[i] of the Keras shape. Undefined: the same order. */
  order?: readonly number[];
  /** Scores before a final softmax or sigmoid; losses prefer them for precision. */
  logits?: { value: Value; activation: string };
  /** Which steps of a sequence count: BOOL [batch, steps], handed on from layer to layer as Keras does. */
  mask?: Value;
};

/** What a layer was called with besides its inputs, as `inbound_nodes` write it; null arguments are left out. */
export type CallArguments = {
  /** Tensors by argument name: `initial_state`, `attention_mask`. */
  tensors: ReadonlyMap<string, readonly LayerValue[]>;
  /** Everything else: `use_causal_mask: true`. */
  options: ReadonlyMap<string, unknown>;
};

export type WeightSpec = {
  /** "<layer>/<variable>", Keras's variable names. */
  name: string;
  /** Shape in memory (convolution kernels [F, C, KH, KW]). */
  shape: number[];
  /** Axis i in memory is axis order[i] of Keras's variable. Undefined: the same order. */
  order?: readonly number[];
  initializer: Initializer;
  /** A penalty on the weight while it is trained. */
  regularizer?: Regularizer;
  /** Applied to the weight after every update. */
  constraint?: Constraint;
  fans: Fans;
  /** false: a moving statistic, updated by the layer itself, or a weight of a frozen layer. */
  trainable: boolean;
};

/** "keep": BOOL, true with probability 1 - rate. "normal": FP32, mean 0 and variance 1. */
export type RandomDraw = { kind: "keep"; rate: number } | { kind: "normal" };

export type RandomInput = RandomDraw & { name: string; shape: number[] };

export interface LayerContext {
  readonly graph: GraphBuilder;
  /** Whether the graph trains: dropout drops, batch statistics are used and updated. */
  readonly training: boolean;
  /** Whether the layer, or a model it lies in, is declared `trainable: false`: its weights stay as they are. */
  readonly frozen: boolean;
  /** With the models it lies in: "<model>/<layer>". */
  readonly layerName: string;
  /** The context of a layer inside this one; asking again for the same name gives the same weights. */
  within(layerName: string, options?: { frozen?: boolean }): LayerContext;
  weight(spec: Omit<WeightSpec, "name"> & { name: string }): Value;
  /** Declares the next value of a weight that is not trained. */
  updateWeight(weight: Value, next: Value): void;
  /** Says that ids have to be from 0 to below `rows`: what feeds them is looked through before a training begins. */
  limitIds(ids: Value, rows: number): void;
  /** Adds to the loss, in training and in evaluation; asked for by those who compute one. */
  penalise(penalty: () => Value | undefined): void;
  /** Told what each layer of a model gives, by those who look into one. */
  readonly gave?: (layerName: string, values: readonly LayerValue[]) => void;
  /** A random tensor drawn afresh for every step. Training graphs only. */
  random(draw: RandomDraw, shape: number[]): Value;
}

/**
 * Appends the layer's nodes; gives one output, or a list where the layer has several.
 * @throws {InvalidModelError} when the inputs do not fit
 */
export type ApplyLayer = (
  context: LayerContext,
  inputs: readonly LayerValue[],
  call: CallArguments,
) => LayerValue | readonly LayerValue[];

export type DeclaredLayer = { name: string; className: string; frozen: boolean; apply: ApplyLayer };

/** Reads a layer (or model) that is declared inside another's config; a wrapper applies it in `context.within(name)`. */
export type ReadLayer = (declared: unknown, where: string) => DeclaredLayer;

/** Reads a layer's config. @throws {InvalidModelError} {UnknownComponentError} */
export type LayerDefinition = (config: ConfigReader, readLayer: ReadLayer) => ApplyLayer;

/** Keras's [N, H, W, C] as [N, C, H, W] in memory. */
export const CHANNELS_FIRST_2D = [0, 3, 1, 2] as const;
/** Keras's [N, H, W, C] as [C, N, H, W] in memory. */
export const CHANNELS_BEFORE_BATCH_2D = [3, 0, 1, 2] as const;

/** The shape as Keras states it. */
export function kerasShape(v: LayerValue): Dim[] {
  if (!v.order) return [...v.value.shape];
  const shape: Dim[] = new Array(v.order.length);
  v.order.forEach((axis, i) => {
    shape[axis] = v.value.shape[i]!;
  });
  return shape;
}

/** The same tensor with its axes in `order` in memory; free when they already are. */
export function inOrder(graph: GraphBuilder, v: LayerValue, order: readonly number[] | undefined): Value {
  const perm = permutation(v, order);
  if (perm.every((axis, i) => axis === i)) return v.value;
  if (movesElements(v, order)) return graph.op("Transpose", [v.value], { perm });
  return reshapeTo(
    graph,
    v.value,
    perm.map((axis) => v.value.shape[axis]!),
  );
}

/** Whether `inOrder` has to transpose: moving axes of size 1 alone moves no element. */
export function movesElements(v: LayerValue, order: readonly number[] | undefined): boolean {
  const moved = permutation(v, order).filter((axis) => v.value.shape[axis] !== 1);
  return moved.some((axis, i) => i > 0 && axis < moved[i - 1]!);
}

/** Place now of each axis of the value in `order`. */
function permutation(v: LayerValue, order: readonly number[] | undefined): number[] {
  const identity = v.value.shape.map((_, i) => i);
  const from = v.order ?? identity;
  return (order ?? identity).map((axis) => from.indexOf(axis));
}

/** The tensor with its axes as Keras states them. */
export function inKerasOrder(graph: GraphBuilder, v: LayerValue): Value {
  return inOrder(graph, v, undefined);
}

/** Reshapes; one varying size (the batch) may be among the sizes. */
export function reshapeTo(graph: GraphBuilder, value: Value, shape: readonly Dim[]): Value {
  return graph.op("Reshape", [value, graph.ints(shape.map((dim) => (typeof dim === "number" ? dim : -1)))]);
}
