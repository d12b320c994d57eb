/** Dense: y = activation(x·W + b) along the last axis. Kernel [in, units]. */

import { InvalidModelError } from "../../errors.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";
import { affine } from "./affine.ts";
import { readActivation, readWeight, refusePenalties } from "./common.ts";

export const dense: LayerDefinition = (config) => {
  const units = config.integer("units", {});
  const useBias = config.boolean("use_bias", true);
  const declaredKernel = readWeight(config, "kernel", "GlorotUniform");
  const declaredBias = readWeight(config, "bias", "Zeros");
  const activate = readActivation(config);
  refusePenalties(config);

  return (c, [x]) => {
    const input = inKerasOrder(c.graph, x!);
    const depth = input.shape.at(-1);
    if (typeof depth !== "number" || input.shape.length < 2)
      throw new InvalidModelError("input", `needs a known last size, received [${input.shape.join(",")}]`);
    const fans = { fanIn: depth, fanOut: units };
    const kernel = c.weight({
      name: "kernel",
      shape: [depth, units],
      ...declaredKernel,
      fans,
      trainable: true,
    });
    const bias = useBias
      ? c.weight({ name: "bias", shape: [units], ...declaredBias, fans, trainable: true })
      : undefined;
    return activate(c, { value: affine(c.graph, input, kernel, bias) });
  };
};
