/** LayerNormalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) over the last axis. */

import { InvalidModelError } from "../../errors.ts";
import { float, literalOf } from "../../onnx/graph.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";
import { readWeight, refusePenalties } from "./common.ts";

export const layerNormalization: LayerDefinition = (config) => {
  const axis = config.raw("axis") ?? -1;
  const epsilon = config.number("epsilon", { fallback: 1e-3, min: 0 });
  const center = config.boolean("center", true);
  const scale = config.boolean("scale", true);
  const declaredBeta = readWeight(config, "beta", "Zeros");
  const declaredGamma = readWeight(config, "gamma", "Ones");
  config.unset("rms_scaling", false);
  refusePenalties(config);

  return (c, [x]) => {
    const g = c.graph;
    const input = inKerasOrder(g, x!);
    const last = input.shape.length - 1;
    const axes = Array.isArray(axis) ? axis : [axis];
    if (axes.length !== 1 || (axes[0] !== -1 && axes[0] !== last))
      throw new InvalidModelError("axis", `received ${JSON.stringify(axis)}, expected the last axis`);
    const size = input.shape[last];
    if (typeof size !== "number") throw new InvalidModelError("input", "the last size must be known");
    const fans = { fanIn: size, fanOut: size };
    const gamma = scale
      ? c.weight({ name: "gamma", shape: [size], ...declaredGamma, fans, trainable: true })
      : undefined;
    const beta = center
      ? c.weight({ name: "beta", shape: [size], ...declaredBeta, fans, trainable: true })
      : undefined;

    const ones = () => g.constant(`ones:${size}`, literalOf(new Float32Array(size).fill(1), [size]));
    const inputs = [input, gamma ?? ones(), beta].filter((value) => value !== undefined);
    return { value: g.op("LayerNormalization", inputs, { axis: -1, epsilon: float(epsilon) }) };
  };
};
