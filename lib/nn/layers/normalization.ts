/**
 * Normalization: x less a mean, by the square root of a variance; or back, with `invert`. Both are numbers in the
 * config, as Keras writes those it was given. Values it found in data (`adapt`) it writes among the weights: they are
 * weights here too, 0 and 1 until initial weights bring them.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import { literalOf } from "../../onnx/graph.ts";
import type { ConfigReader } from "../config-reader.ts";
import { type Initializer, initializerOf } from "../initializers.ts";
import {
  type ApplyLayer,
  inOrder,
  kerasShape,
  type LayerContext,
  type LayerDefinition,
  type LayerValue,
} from "../layer.ts";
import { inMemoryOrder } from "../weight-order.ts";
import { placesOf, readAxes, sizesAt } from "./axes.ts";

/** Keras divides by at least this deviation. */
const LEAST = 1e-7;

export const normalization: LayerDefinition = (config) => {
  const axes = readAxes(config, -1);
  if (config.raw("mean") === undefined && config.raw("variance") === undefined) return adapted(config, axes);
  const mean = readNumbers(config, "mean");
  const variance = readNumbers(config, "variance");
  if (mean.shape.join() !== variance.shape.join())
    config.refuse(
      "variance",
      config.raw("variance"),
      `numbers of the shape of mean, [${mean.shape.join(",")}]`,
    );
  if (mean.shape.length > axes.length)
    config.refuse("mean", config.raw("mean"), `numbers along at most ${axes.length} axes`);
  if (variance.data.some((v) => v < 0))
    config.refuse("variance", config.raw("variance"), "no negative number");
  const deviation = { ...variance, data: variance.data.map((v) => Math.max(Math.sqrt(v), LEAST)) };
  const invert = config.boolean("invert", false);

  return (c, [x]) => {
    const places = placesOf(axes, kerasShape(x!));
    sizesAt(x!, places);
    const constant = (name: string, numbers: Numbers) =>
      spread(c, x!, places, `${c.layerName}/${name}`, numbers);
    return normalised(c, x!, constant("mean", mean), constant("deviation", deviation), invert);
  };
};

/** With mean and variance as weights that nothing trains, of the sizes along the axes. */
function adapted(config: ConfigReader, axes: readonly number[]): ApplyLayer {
  const invert = config.boolean("invert", false);
  const [zeros, ones] = ["Zeros", "Ones"].map((name) =>
    initializerOf({ class_name: name, config: {} }, config.where),
  );
  return (c, [x]) => {
    const g = c.graph;
    const places = placesOf(axes, kerasShape(x!));
    const sizes = sizesAt(x!, places);
    const shape = kerasShape(x!).map((size, i) => (places.includes(i) ? (size as number) : 1));
    const weight = (name: string, initializer: Initializer) => {
      const value = c.weight({
        name,
        shape: sizes,
        initializer,
        fans: { fanIn: 1, fanOut: 1 },
        trainable: false,
      });
      const placed = g.op("Reshape", [value, g.ints(shape)]);
      return inOrder(g, { value: placed }, x!.order);
    };
    const mean = weight("mean", zeros!);
    const deviation = g.op("Max", [g.op("Sqrt", [weight("variance", ones!)]), g.scalar(LEAST)]);
    return normalised(c, x!, mean, deviation, invert);
  };
}

function normalised(
  { graph: g }: LayerContext,
  { value: x, order }: LayerValue,
  mean: Value,
  deviation: Value,
  invert: boolean,
): LayerValue {
  const value = invert
    ? g.op("Add", [g.op("Mul", [x, deviation]), mean])
    : g.op("Div", [g.op("Sub", [x, mean]), deviation]);
  return order ? { value, order } : { value };
}

/** More axes than any tensor has. */
const MAX_RANK = 8;

type Numbers = { shape: number[]; data: Float32Array };

/** One number, or a list of lists of numbers, all as long. */
function readNumbers(config: ConfigReader, name: string): Numbers {
  const given = config.raw(name);
  const shape: number[] = [];
  for (let inner = given; Array.isArray(inner); inner = inner[0])
    if (shape.push(inner.length) > MAX_RANK) config.refuse(name, given, `lists of at most ${MAX_RANK} axes`);
  const flat = Array.isArray(given) ? given.flat(shape.length - 1) : [given];
  const regular = (value: unknown, [size, ...rest]: number[]): boolean =>
    size === undefined
      ? typeof value === "number" && Number.isFinite(value)
      : Array.isArray(value) && value.length === size && value.every((inner) => regular(inner, rest));
  if (!regular(given, shape) || flat.length === 0)
    return config.refuse(name, given, "a number, or numbers along the axes");
  return { shape, data: Float32Array.from(flat as number[]) };
}

/** The numbers as a constant that spreads over `x`: their last axis along the last of `places`, and so on. */
function spread(
  c: LayerContext,
  x: LayerValue,
  places: readonly number[],
  name: string,
  numbers: Numbers,
): Value {
  const sizes = kerasShape(x);
  const shape = sizes.map(() => 1);
  numbers.shape.forEach((size, i) => {
    const place = places[places.length - numbers.shape.length + i]!;
    if (size !== sizes[place] && size !== 1)
      throw new InvalidModelError(
        "mean",
        `has ${size} numbers along axis ${place}, expected ${sizes[place]}`,
      );
    shape[place] = size;
  });
  const { order } = x;
  const placed = order ? { shape: order.map((axis) => shape[axis]!), order } : { shape };
  return c.graph.constant(
    `${name}:${order?.join() ?? ""}`,
    literalOf(inMemoryOrder(numbers.data, placed), placed.shape),
  );
}
