/**
 * GroupNormalization (Wu and He 2018, arXiv:1803.08494): each example by the mean and variance of groups of its
 * channels, over all places. -1 groups: every channel alone, which is instance normalisation.
 */

import { InvalidModelError } from "../../errors.ts";
import { float, literalOf } from "../../onnx/graph.ts";
import { fansOf } from "../initializers.ts";
import { inOrder, kerasShape, type LayerDefinition, reshapeTo } from "../layer.ts";
import { placesOf, readAxes, sizesAt } from "./axes.ts";
import { readWeight, refusePenalties } from "./common.ts";

export const groupNormalization: LayerDefinition = (config) => {
  const given = config.raw("groups") ?? 32;
  const groups = given === -1 ? -1 : config.integer("groups", { fallback: 32 });
  const axes = readAxes(config, -1);
  if (axes.length !== 1) config.refuse("axis", axes, "one axis");
  const epsilon = config.number("epsilon", { fallback: 1e-3, min: 0 });
  const center = config.boolean("center", true);
  const scale = config.boolean("scale", true);
  const declaredBeta = readWeight(config, "beta", "Zeros");
  const declaredGamma = readWeight(config, "gamma", "Ones");
  refusePenalties(config);

  return (c, [x]) => {
    const g = c.graph;
    const [axis] = placesOf(axes, kerasShape(x!)) as [number];
    const others = x!.value.shape.map((_, place) => place).filter((place) => place > 0 && place !== axis);
    const [channels, ...spatial] = sizesAt(x!, [axis, ...others]) as [number, ...number[]];
    const count = groups === -1 ? channels : groups;
    if (channels % count !== 0)
      throw new InvalidModelError(
        "groups",
        `received ${groups}, expected a divisor of the ${channels} channels`,
      );
    const order = [0, axis, ...others];
    const input = inOrder(g, x!, order);
    const batch = input.shape[0]!;
    const places = spatial.reduce((a, b) => a * b, 1);
    const size = (channels / count) * places;
    const ones = g.constant(`ones:${size}`, literalOf(new Float32Array(size).fill(1), [size]));
    const normal = g.op("LayerNormalization", [reshapeTo(g, input, [batch, count, size]), ones], {
      axis: -1,
      epsilon: float(epsilon),
    });
    const weight = (name: "gamma" | "beta") => {
      const declared = name === "gamma" ? declaredGamma : declaredBeta;
      const fans = fansOf([channels]);
      const vector = c.weight({ name, shape: [channels], ...declared, fans, trainable: true });
      return g.op("Reshape", [vector, g.ints([channels, ...spatial.map(() => 1)])]);
    };
    const apart = reshapeTo(g, normal, [batch, channels, ...spatial]);
    const scaled = scale ? g.op("Mul", [apart, weight("gamma")]) : apart;
    const value = center ? g.op("Add", [scaled, weight("beta")]) : scaled;
    return order.every((place, i) => place === i) ? { value } : { value, order };
  };
};
