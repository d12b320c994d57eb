/**
 * What the convolution layers share: the window they slide, as Keras declares it, their input as it sees it, and their
 * weights. Everything is computed with two spatial axes; a one-dimensional window has height 1.
 *
 * In memory a kernel has its spatial sizes last ([filters, channels, height, width]), whatever `data_format` says.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import type { Attributes, Dim } from "../../onnx/graph.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { Fans } from "../initializers.ts";
import { inOrder, kerasShape, type LayerContext, type LayerValue, reshapeTo } from "../layer.ts";
import { type DeclaredWeight, readWeight } from "./common.ts";
import { paddingOf } from "./padding.ts";

type Rank = 1 | 2;
type Padding = "valid" | "same" | "causal";

export type ConvWindow = {
  rank: Rank;
  /** [height, width], as are the strides and dilations. */
  kernel: number[];
  strides: number[];
  dilations: number[];
  padding: Padding;
  channelsFirst: boolean;
};

export function readWindow(
  config: ConfigReader,
  rank: Rank,
  paddings: readonly Padding[] = ["valid", "same"],
): ConvWindow {
  return {
    rank,
    kernel: readSizes(config, "kernel_size", rank),
    strides: readSizes(config, "strides", rank, 1),
    dilations: readSizes(config, "dilation_rate", rank, 1),
    padding: config.choice("padding", paddings, "valid"),
    channelsFirst:
      config.choice("data_format", ["channels_last", "channels_first"], "channels_last") === "channels_first",
  };
}

/** Sizes of at least `least` along height (one-dimensional: `least`) and width; one number, or one per axis. */
export function readSizes(
  config: ConfigReader,
  name: string,
  rank: Rank,
  fallback?: number,
  least: 0 | 1 = 1,
): number[] {
  const given = config.raw(name) ?? fallback;
  const sizes = typeof given === "number" ? new Array<number>(rank).fill(given) : given;
  const fits =
    Array.isArray(sizes) &&
    sizes.length === rank &&
    sizes.every((v) => Number.isSafeInteger(v) && v >= least);
  const kind = least > 0 ? "positive integer" : "non-negative integer";
  if (!fits) return config.refuse(name, given, rank === 1 ? `one ${kind}` : `one or two ${kind}s`);
  return rank === 1 ? [least, ...sizes] : sizes;
}

/** Attributes of a convolution of an image of `size` [height, width]. */
function attributesOf(window: ConvWindow, size: readonly number[], group = 1): Attributes {
  const { kernel, strides, dilations, padding } = window;
  const pads =
    padding === "causal"
      ? [...kernel.map((places, i) => dilations[i]! * (places - 1)), 0, 0]
      : paddingOf(padding, size, kernel, strides, dilations);
  return { kernel_shape: kernel, strides, dilations, pads, ...(group === 1 ? {} : { group }) };
}

export type Images = {
  /** [N, C, H, W], or [C, N, H, W]. */
  value: Value;
  channels: number;
  /** [height, width] */
  size: number[];
  /** A result in the same order of axes, as the layer's output. */
  leave(value: Value): LayerValue;
};

/** The layer's input for the window. @throws {InvalidModelError} for another rank, or a size that is not known */
export function imagesOf(
  c: LayerContext,
  x: LayerValue,
  window: ConvWindow,
  first: "batch" | "channels",
): Images {
  const { rank, channelsFirst } = window;
  const shape = kerasShape(x);
  if (shape.length !== rank + 2) {
    const axes = rank === 1 ? ["steps"] : ["height", "width"];
    const expected = channelsFirst ? ["channels", ...axes] : [...axes, "channels"];
    throw new InvalidModelError(
      "input",
      `needs [batch, ${expected.join(", ")}], received rank ${shape.length}`,
    );
  }
  const [, ...sizes] = shape;
  if (!sizes.every((size): size is number => typeof size === "number"))
    throw new InvalidModelError(
      "input",
      `every size but the batch must be known, received [${shape.join(",")}]`,
    );
  const channels = channelsFirst ? sizes[0]! : sizes.at(-1)!;
  const spatial = channelsFirst ? sizes.slice(1) : sizes.slice(0, -1);
  const order = orderOf(rank, channelsFirst, first);
  const value = inOrder(c.graph, x, order);
  const [a, b] = value.shape as [Dim, Dim];
  return {
    value: rank === 2 ? value : reshapeTo(c.graph, value, [a, b, 1, ...spatial]),
    channels,
    size: rank === 2 ? spatial : [1, ...spatial],
    leave(result) {
      const [p, q, , width] = result.shape as [Dim, Dim, Dim, Dim];
      const given = rank === 2 ? result : reshapeTo(c.graph, result, [p, q, width]);
      return order ? { value: given, order } : { value: given };
    },
  };
}

function orderOf(
  rank: Rank,
  channelsFirst: boolean,
  first: "batch" | "channels",
): readonly number[] | undefined {
  const spatial = rank === 1 ? [0] : [0, 1];
  if (channelsFirst) return first === "batch" ? undefined : [1, 0, ...spatial.map((axis) => axis + 2)];
  const last = rank + 1;
  return [...(first === "batch" ? [0, last] : [last, 0]), ...spatial.map((axis) => axis + 1)];
}

/**
 * Appends the convolution of `images` with `kernel` [F, C/group, KH, KW]: in training as ColumnConv, for images with
 * the channels first, so that forward and weight gradient are each one product with the same columns.
 */
export function convolve(
  c: LayerContext,
  images: Pick<Images, "value" | "size">,
  window: ConvWindow,
  [kernel, bias]: readonly [Value, Value | undefined],
  group = 1,
): Value {
  const inputs = [images.value, kernel, ...(bias ? [bias] : [])];
  const op = orderFor(c) === "channels" ? "ColumnConv" : "Conv";
  return c.graph.op(op, inputs, attributesOf(window, images.size, group));
}

/** Which axis `convolve` wants first. */
export function orderFor(c: LayerContext): "batch" | "channels" {
  return c.training ? "channels" : "batch";
}

/**
 * A kernel [outer, inner, ...sizes] in memory, with two spatial axes. Of Keras's last two axes `outer` is the last, or
 * the one before it; `fans` are counted for one place of the window.
 */
export function kernelOf(
  c: LayerContext,
  window: Pick<ConvWindow, "rank" | "kernel">,
  spec: {
    name: string;
    outer: number;
    inner: number;
    outerIs: "last" | "last but one";
    fans: Fans;
    declared: DeclaredWeight;
  },
): Value {
  const { name, outer, inner, outerIs, declared } = spec;
  const { rank } = window;
  const places = window.kernel.slice(2 - rank);
  const receptive = places.reduce((a, b) => a * b, 1);
  const weight = c.weight({
    name,
    shape: [outer, inner, ...places],
    order: [...(outerIs === "last" ? [rank + 1, rank] : [rank, rank + 1]), ...places.map((_, i) => i)],
    ...declared,
    fans: { fanIn: spec.fans.fanIn * receptive, fanOut: spec.fans.fanOut * receptive },
    trainable: true,
  });
  return rank === 2 ? weight : reshapeTo(c.graph, weight, [outer, inner, ...window.kernel]);
}

/** Reads `use_bias` and what the bias is declared with; undefined: the layer has none. */
export function readBias(config: ConfigReader): DeclaredWeight | undefined {
  const declared = readWeight(config, "bias", "Zeros");
  return config.boolean("use_bias", true) ? declared : undefined;
}

/** A bias [size]; undefined where none is declared. */
export function biasOf(
  c: LayerContext,
  size: number,
  declared: DeclaredWeight | undefined,
): Value | undefined {
  if (!declared) return undefined;
  return c.weight({
    name: "bias",
    shape: [size],
    ...declared,
    fans: { fanIn: size, fanOut: size },
    trainable: true,
  });
}
