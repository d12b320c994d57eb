/** Flatten: every axis but the batch into one, in Keras's order of axes. */

import { InvalidModelError } from "../../errors.ts";
import { inKerasOrder, type LayerDefinition, reshapeTo } from "../layer.ts";

export const flatten: LayerDefinition = (config) => {
  config.unset("data_format", "channels_last", "channelsLast");

  return (c, [x]) => {
    const input = inKerasOrder(c.graph, x!);
    const [batch, ...sizes] = input.shape;
    if (!sizes.every((size): size is number => typeof size === "number"))
      throw new InvalidModelError(
        "input",
        `every size but the batch must be known, received [${input.shape.join(",")}]`,
      );
    return { value: reshapeTo(c.graph, input, [batch!, sizes.reduce((a, b) => a * b, 1)]) };
  };
};
