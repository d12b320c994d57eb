/**
 * Dropout: in training each element is kept with probability 1 - rate and scaled by 1/(1 - rate); elsewhere the
 * identity. With `noise_shape`, and in SpatialDropout, whole axes are kept or dropped together. The mask is an input
 * of the graph, drawn from the run's dropout stream, so that a run can be repeated and resumed exactly.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Dim } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { ConfigReader } from "../config-reader.ts";
import {
  type ApplyLayer,
  kerasShape,
  type LayerContext,
  type LayerDefinition,
  type LayerValue,
} from "../layer.ts";
import { shown } from "../shown.ts";

export const dropout: LayerDefinition = (config) => {
  const rate = readRate(config);
  const given = config.raw("noise_shape");
  const isSize = (size: unknown) => size === null || (Number.isSafeInteger(size) && (size as number) > 0);
  if (given !== undefined && !(Array.isArray(given) && given.every(isSize)))
    config.refuse("noise_shape", given, "a list of sizes, null for those of the input");
  const noiseShape = given as (number | null)[] | undefined;
  if (noiseShape && noiseShape[0] !== null && noiseShape[0] !== 1)
    config.refuse("noise_shape", given, "null or 1 for the batch, which varies");

  return dropping(rate, (shape) => {
    if (!noiseShape) return shape;
    const fits = noiseShape.every((size, i) => size === null || size === 1 || size === shape[i]);
    if (noiseShape.length !== shape.length || !fits)
      throw new InvalidModelError(
        "noise_shape",
        `received ${shown(noiseShape)}, expected for each size of [${shape.join(",")}] itself, 1 or null`,
      );
    return noiseShape.map((size, i) => size ?? shape[i]!);
  });
};

/** Drops whole channels of [batch, steps, channels]. */
export const spatialDropout1d: LayerDefinition = (config) => {
  const rate = readRate(config);
  return dropping(rate, (shape) => overPlaces(shape, 3, 2));
};

/** Drops whole channels of images. */
export const spatialDropout2d: LayerDefinition = (config) => {
  const rate = readRate(config);
  const layout = config.choice("data_format", ["channels_last", "channels_first"], "channels_last");
  return dropping(rate, (shape) => overPlaces(shape, 4, layout === "channels_first" ? 1 : 3));
};

function readRate(config: ConfigReader): number {
  // A run has one seed for all its layers that draw.
  config.ignore("seed");
  return config.number("rate", { min: 0, below: 1 });
}

function overPlaces(shape: readonly Dim[], rank: number, channels: number): Dim[] {
  if (shape.length !== rank)
    throw new InvalidModelError("input", `needs rank ${rank}, received [${shape.join(",")}]`);
  return shape.map((size, axis) => (axis === 0 || axis === channels ? size : 1));
}

/** Drops single elements at `rate`, for layers that drop inside. */
export function droppingElements(rate: number): (c: LayerContext, x: LayerValue) => LayerValue {
  return (c, x) => drop(c, x, rate, kerasShape(x));
}

/** `maskShape` gives the mask's Keras shape from the input's. */
function dropping(rate: number, maskShape: (shape: Dim[]) => readonly Dim[]): ApplyLayer {
  return (c, [x]) => drop(c, x!, rate, maskShape(kerasShape(x!)));
}

function drop(c: LayerContext, x: LayerValue, rate: number, maskShape: readonly Dim[]): LayerValue {
  if (!c.training || rate === 0) return x;
  const mask = c.random({ kind: "keep", rate }, inMemory(x, maskShape));
  const kept = c.graph.op("Cast", [mask], { to: ONNX_TYPE.FP32 });
  const scaled = c.graph.op("Mul", [kept, c.graph.scalar(1 / (1 - rate))]);
  const value = c.graph.op("Mul", [x.value, scaled]);
  return x.order ? { value, order: x.order } : { value };
}

/** A Keras shape with its axes as those of `x` lie in memory. @throws {InvalidModelError} when a size varies */
export function inMemory(x: LayerValue, shape: readonly Dim[]): number[] {
  const moved = x.order ? x.order.map((axis) => shape[axis]!) : [...shape];
  if (!moved.every((size): size is number => typeof size === "number"))
    throw new InvalidModelError("input", "a training graph needs a fixed batch");
  return moved;
}
