/** Flatten: every axis but the batch into one, in Keras's order of axes, the channels last whatever `data_format`. */

import { InvalidModelError } from "../../errors.ts";
import { inOrder, type LayerDefinition, reshapeTo } from "../layer.ts";
import { readChannelsFirst } from "./spatial.ts";

export const flatten: LayerDefinition = (config) => {
  const channelsFirst = readChannelsFirst(config);

  return (c, [x]) => {
    const axes = x!.value.shape.map((_, axis) => axis);
    const input = inOrder(c.graph, x!, channelsFirst ? [0, ...axes.slice(2), ...axes.slice(1, 2)] : axes);
    const [batch, ...sizes] = input.shape;
    if (!sizes.every((size): size is number => typeof size === "number"))
      throw new InvalidModelError(
        "input",
        `every size but the batch must be known, received [${input.shape.join(",")}]`,
      );
    return { value: reshapeTo(c.graph, input, [batch!, sizes.reduce((a, b) => a * b, 1)]) };
  };
};
