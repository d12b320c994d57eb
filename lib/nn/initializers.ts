/**
 * Weight initialisers, by their Keras names (keras.io/api/layers/initializers). Each gives the values of a weight
 * from its shape, its fans and a random stream, in Keras's order of axes. To add one: an entry in the table.
 */

import type { KerasObject } from "../protocol/jobs.ts";
import type { RandomStream } from "../random/stream.ts";
import { ConfigReader, lookUp } from "./config-reader.ts";
import type { Fans, Initializer } from "./initializers/initializer.ts";
import { identity, orthogonal } from "./initializers/matrices.ts";

export { type Fans, fansOf, type Initializer } from "./initializers/initializer.ts";

type Parse = (config: ConfigReader) => Initializer;

const fill =
  (draw: (random: RandomStream, fans: Fans) => number): Initializer =>
  (shape, fans, random) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => draw(random, fans));

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

const zeros: Parse = () => constant(0);
const ones: Parse = () => constant(1);

const randomUniform: Parse = (c) => {
  const low = c.number("minval", { fallback: -0.05 });
  const high = c.number("maxval", { fallback: 0.05 });
  return fill((random) => low + (high - low) * random.uniform());
};

const randomNormal: Parse = (c) => {
  const mean = c.number("mean", { fallback: 0 });
  const stddev = c.number("stddev", { fallback: 0.05, min: 0 });
  return fill((random) => mean + stddev * random.normal());
};

const readIdentity: Parse = (c) => identity(c.number("gain", { fallback: 1 }), c.where);
const readOrthogonal: Parse = (c) => orthogonal(c.number("gain", { fallback: 1 }), c.where);

const INITIALIZERS: Readonly<Record<string, Parse>> = {
  Zeros: zeros,
  Zero: zeros,
  Ones: ones,
  One: ones,
  Constant: (c) => constant(c.number("value", { fallback: 0 })),
  RandomUniform: randomUniform,
  Uniform: randomUniform,
  RandomNormal: randomNormal,
  Normal: randomNormal,
  Identity: readIdentity,
  IdentityInitializer: readIdentity,
  Orthogonal: readOrthogonal,
  OrthogonalInitializer: readOrthogonal,
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
