/**
 * What layers over steps [batch, steps, channels] and images [batch, height, width, channels] share: `data_format`,
 * sizes per axis, and where those axes lie, as Keras numbers them and in memory.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inOrder, type LayerValue } from "../layer.ts";

/** How many axes are neither batch nor channels: 1 for steps, 2 for images. */
export type SpatialRank = 1 | 2;

const SHAPES = { 1: "[batch, steps, channels]", 2: "[batch, height, width, channels]" } as const;

/** Whether `data_format` puts the channels before the spatial axes. */
export function readChannelsFirst(config: ConfigReader): boolean {
  return (
    config.choice("data_format", ["channels_last", "channels_first"], "channels_last") === "channels_first"
  );
}

/** One positive integer for all axes, or one for each. */
export function readSizes(
  config: ConfigReader,
  name: string,
  rank: SpatialRank,
  fallback?: number | number[],
): number[] {
  const value = config.raw(name) ?? fallback;
  const sizes = typeof value === "number" ? new Array<number>(rank).fill(value) : value;
  const fits = Array.isArray(sizes) && sizes.length === rank;
  if (!fits || !sizes.every((size) => Number.isSafeInteger(size) && size > 0))
    return config.refuse(name, value, rank === 1 ? "a positive integer" : "one or two positive integers");
  return sizes as number[];
}

/** @throws {InvalidModelError} when `x` is no batch of steps or images */
export function checkSpatialRank(x: LayerValue, rank: SpatialRank): void {
  const received = x.value.shape.length;
  if (received !== rank + 2)
    throw new InvalidModelError("input", `needs ${SHAPES[rank]}, received rank ${received}`);
}

/** The spatial axes as Keras numbers them. */
export function spatialAxes(rank: SpatialRank, channelsFirst: boolean): number[] {
  return Array.from({ length: rank }, (_, i) => i + (channelsFirst ? 2 : 1));
}

/** Where Keras's axes lie in memory. */
export function placesOf(x: LayerValue, axes: readonly number[]): number[] {
  return axes.map((axis) => x.order?.indexOf(axis) ?? axis);
}

/**
 * The tensor with its spatial axes last in memory, whichever comes first of batch and channels: a window moves along
 * the spatial axes alone.
 */
export function spatialAxesLast(
  graph: GraphBuilder,
  x: LayerValue,
  rank: SpatialRank,
  channelsFirst: boolean,
): LayerValue {
  const axes = spatialAxes(rank, channelsFirst);
  if (placesOf(x, axes).every((place, i) => place === i + 2)) return arranged(x.value, x.order);
  const order = channelsFirst ? undefined : [0, rank + 1, ...axes];
  return arranged(inOrder(graph, x, order), order);
}

/** A value whose axes lie in `order`. */
export function arranged(value: Value, order: readonly number[] | undefined): LayerValue {
  return order?.some((axis, i) => axis !== i) ? { value, order } : { value };
}
