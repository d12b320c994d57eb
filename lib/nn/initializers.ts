/**
 * Weight initialisers, by their Keras names (keras.io/api/layers/initializers). Each gives values for a weight of
 * `count` elements from its fans and a random stream. To add one: an entry in the table.
 */

import type { KerasObject } from "../protocol/jobs.ts";
import type { RandomStream } from "../random/stream.ts";
import { ConfigReader, lookUp } from "./config-reader.ts";

/** Inputs and outputs that one unit of the weight connects (receptive field included). */
export type Fans = { fanIn: number; fanOut: number };

/** The fans Keras reads off a weight's shape: [..., in, out], with everything before as the receptive field. */
export function fansOf(shape: readonly number[]): Fans {
  if (shape.length < 2) return { fanIn: shape[0] ?? 1, fanOut: shape[0] ?? 1 };
  const receptive = shape.slice(0, -2).reduce((a, b) => a * b, 1);
  return { fanIn: receptive * shape.at(-2)!, fanOut: receptive * shape.at(-1)! };
}

export type Initializer = (count: number, fans: Fans, random: RandomStream) => Float32Array;
type Parse = (config: ConfigReader) => Initializer;

const fill =
  (draw: (random: RandomStream, fans: Fans) => number): Initializer =>
  (count, fans, random) =>
    Float32Array.from({ length: count }, () => draw(random, fans));

const constant = (value: number): Initializer => fill(() => value);

/** A normal draw within two standard deviations, as Keras's "truncated normal". */
function truncated(random: RandomStream): number {
  for (;;) {
    const draw = random.normal();
    if (Math.abs(draw) < 2) return draw;
  }
}

/** Standard deviation of a unit normal cut at two; Keras divides by it. */
const TRUNCATED_STDDEV = 0.87962566103423978;

type Mode = "fan_in" | "fan_out" | "fan_avg";
type Distribution = "uniform" | "truncated_normal" | "untruncated_normal";

/** He, LeCun and Glorot are this with their scale, fan and distribution. */
function varianceScaling(scale: number, mode: Mode, distribution: Distribution): Initializer {
  return fill((random, { fanIn, fanOut }) => {
    const fan = mode === "fan_in" ? fanIn : mode === "fan_out" ? fanOut : (fanIn + fanOut) / 2;
    const variance = scale / Math.max(1, fan);
    if (distribution === "uniform") return (2 * random.uniform() - 1) * Math.sqrt(3 * variance);
    if (distribution === "untruncated_normal") return random.normal() * Math.sqrt(variance);
    return (truncated(random) * Math.sqrt(variance)) / TRUNCATED_STDDEV;
  });
}

const scaling =
  (scale: number, mode: Mode, distribution: Distribution): Parse =>
  () =>
    varianceScaling(scale, mode, distribution);

const INITIALIZERS: Readonly<Record<string, Parse>> = {
  Zeros: () => constant(0),
  Ones: () => constant(1),
  Constant: (c) => constant(c.number("value", { fallback: 0 })),
  RandomUniform: (c) => {
    const low = c.number("minval", { fallback: -0.05 });
    const high = c.number("maxval", { fallback: 0.05 });
    return fill((random) => low + (high - low) * random.uniform());
  },
  RandomNormal: (c) => {
    const mean = c.number("mean", { fallback: 0 });
    const stddev = c.number("stddev", { fallback: 0.05, min: 0 });
    return fill((random) => mean + stddev * random.normal());
  },
  TruncatedNormal: (c) => {
    const mean = c.number("mean", { fallback: 0 });
    const stddev = c.number("stddev", { fallback: 0.05, min: 0 });
    return fill((random) => mean + stddev * truncated(random));
  },
  GlorotUniform: scaling(1, "fan_avg", "uniform"),
  GlorotNormal: scaling(1, "fan_avg", "truncated_normal"),
  HeUniform: scaling(2, "fan_in", "uniform"),
  HeNormal: scaling(2, "fan_in", "truncated_normal"),
  LecunUniform: scaling(1, "fan_in", "uniform"),
  LecunNormal: scaling(1, "fan_in", "truncated_normal"),
  VarianceScaling: (c) => {
    const scale = c.number("scale", { fallback: 1, min: 0 });
    const mode = c.choice("mode", ["fan_in", "fan_out", "fan_avg"], "fan_in");
    const distribution = c.choice(
      "distribution",
      ["uniform", "truncated_normal", "untruncated_normal", "normal"],
      "truncated_normal",
    );
    // "normal" is what older Keras and TensorFlow.js call the truncated one.
    return varianceScaling(scale, mode, distribution === "normal" ? "truncated_normal" : distribution);
  },
};

/** @throws {UnknownComponentError} {InvalidModelError} */
export function initializerOf(object: KerasObject, where: string): Initializer {
  const parse = lookUp(INITIALIZERS, "initializer", object.class_name);
  const config = new ConfigReader(where, object.config);
  // The run's own stream seeds every initialiser: a seed of its own would draw the same weights twice.
  config.ignore("seed", "dtype");
  const initializer = parse(config);
  // Keras writes these to tell fans of unusual weights apart; null for every layer here.
  config.unset("input_axes");
  config.unset("output_axes");
  config.done();
  return initializer;
}
