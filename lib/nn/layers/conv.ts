/** Conv1D and Conv2D. Kernel in memory [filters, channels/groups, ...sizes]. */

import { InvalidModelError } from "../../errors.ts";
import type { LayerDefinition } from "../layer.ts";
import { readActivation, readWeight, refusePenalties } from "./common.ts";
import { biasOf, convolve, imagesOf, kernelOf, orderFor, readBias, readWindow } from "./conv-window.ts";

const conv =
  (rank: 1 | 2): LayerDefinition =>
  (config) => {
    const filters = config.integer("filters", {});
    const groups = config.integer("groups", { fallback: 1 });
    const window = readWindow(config, rank, rank === 1 ? ["valid", "same", "causal"] : ["valid", "same"]);
    const declaredKernel = readWeight(config, "kernel", "GlorotUniform");
    const declaredBias = readBias(config);
    const activate = readActivation(config);
    refusePenalties(config);
    if (filters % groups !== 0) config.refuse("groups", groups, `a divisor of the ${filters} filters`);

    return (c, [x]) => {
      const images = imagesOf(c, x!, window, orderFor(c));
      const depth = images.channels / groups;
      if (!Number.isInteger(depth))
        throw new InvalidModelError(
          "groups",
          `received ${groups}, expected a divisor of the ${images.channels} channels`,
        );
      const kernel = kernelOf(c, window, {
        name: "kernel",
        outer: filters,
        inner: depth,
        outerIs: "last",
        fans: { fanIn: depth, fanOut: filters },
        declared: declaredKernel,
      });
      const bias = biasOf(c, filters, declaredBias);
      return activate(c, images.leave(convolve(c, images, window, [kernel, bias], groups)));
    };
  };

export const conv1d = conv(1);
export const conv2d = conv(2);
