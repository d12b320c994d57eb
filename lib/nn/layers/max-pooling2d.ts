/** MaxPooling2D. */

import { InvalidModelError } from "../../errors.ts";
import { CHANNELS_FIRST_2D, inOrder, type LayerDefinition, type LayerValue } from "../layer.ts";
import { paddingOf } from "./padding.ts";

export const maxPooling2d: LayerDefinition = (config) => {
  const poolSize = config.pair("pool_size", 2);
  const strides = config.pair("strides", poolSize);
  const padding = config.choice("padding", ["valid", "same"], "valid");
  const channelsFirst =
    config.choice("data_format", ["channels_last", "channels_first"], "channels_last") === "channels_first";

  return (c, [x]) => {
    if (x!.value.shape.length !== 4)
      throw new InvalidModelError(
        "input",
        `needs [batch, height, width, channels], received rank ${x!.value.shape.length}`,
      );
    // Whichever comes first of batch and channels: a window only moves along height and width.
    const order = spatialAxesLast(x!, channelsFirst)
      ? x!.order
      : channelsFirst
        ? undefined
        : CHANNELS_FIRST_2D;
    const input = inOrder(c.graph, x!, order);
    const spatial = input.shape.slice(2) as number[];
    const value = c.graph.op("MaxPool", [input], {
      kernel_shape: poolSize,
      strides,
      pads: paddingOf(padding, spatial, poolSize, strides, [1, 1]),
    });
    return order ? { value, order } : { value };
  };
};

/** Whether height and width already lie last in memory. */
function spatialAxesLast({ order }: LayerValue, channelsFirst: boolean): boolean {
  const last = order?.slice(2).join() ?? "2,3";
  return last === (channelsFirst ? "2,3" : "1,2");
}
