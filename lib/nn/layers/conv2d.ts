/** Conv2D. Kernel in memory [filters, channels, height, width]; served as [N, C, H, W], trained as
 * [C, N, H, W], whatever `data_format` says. */

import { InvalidModelError } from "../../errors.ts";
import type { Dim } from "../../onnx/graph.ts";
import {
  CHANNELS_BEFORE_BATCH_2D,
  CHANNELS_FIRST_2D,
  inOrder,
  kerasShape,
  type LayerDefinition,
} from "../layer.ts";
import { readActivation, readInitializer, refusePenalties } from "./common.ts";
import { paddingOf } from "./padding.ts";

export const conv2d: LayerDefinition = (config) => {
  const filters = config.integer("filters", {});
  const kernelSize = config.pair("kernel_size");
  const strides = config.pair("strides", 1);
  const dilations = config.pair("dilation_rate", 1);
  const padding = config.choice("padding", ["valid", "same"], "valid");
  const channelsFirst =
    config.choice("data_format", ["channels_last", "channels_first"], "channels_last") === "channels_first";
  const useBias = config.boolean("use_bias", true);
  const kernelInitializer = readInitializer(config, "kernel_initializer", "GlorotUniform");
  const biasInitializer = readInitializer(config, "bias_initializer", "Zeros");
  const activate = readActivation(config);
  config.unset("groups", 1);
  refusePenalties(config, "kernel", "bias");

  return (c, [x]) => {
    if (x!.value.shape.length !== 4)
      throw new InvalidModelError(
        "input",
        `needs [batch, height, width, channels], received rank ${x!.value.shape.length}`,
      );
    const [channels, ...spatial] = sizesOf(kerasShape(x!), channelsFirst);
    const receptive = kernelSize[0] * kernelSize[1];
    const fans = { fanIn: channels! * receptive, fanOut: filters * receptive };
    const kernel = c.weight({
      name: "kernel",
      shape: [filters, channels!, ...kernelSize],
      initializer: kernelInitializer,
      fans,
      trainable: true,
    });
    const bias = useBias
      ? c.weight({ name: "bias", shape: [filters], initializer: biasInitializer, fans, trainable: true })
      : undefined;
    const window = {
      kernel_shape: kernelSize,
      strides,
      dilations,
      pads: paddingOf(padding, spatial, kernelSize, strides, dilations),
    };
    if (c.training) {
      // Channels before the batch: forward and weight gradient are then each one product with the same columns.
      const order = channelsFirst ? [1, 0, 2, 3] : CHANNELS_BEFORE_BATCH_2D;
      const inputs = [inOrder(c.graph, x!, order), kernel, ...(bias ? [bias] : [])];
      return activate(c, { value: c.graph.op("ColumnConv", inputs, window), order });
    }
    const order = channelsFirst ? undefined : CHANNELS_FIRST_2D;
    const input = inOrder(c.graph, x!, order);
    const value = c.graph.op("Conv", bias ? [input, kernel, bias] : [input, kernel], window);
    return activate(c, order ? { value, order } : { value });
  };
};

/** Channels, height and width of a Keras shape. */
function sizesOf(shape: readonly Dim[], channelsFirst: boolean): number[] {
  const [, ...sizes] = shape;
  if (!sizes.every((size): size is number => typeof size === "number"))
    throw new InvalidModelError(
      "input",
      `every size but the batch must be known, received [${shape.join(",")}]`,
    );
  return channelsFirst ? sizes : [sizes[2]!, sizes[0]!, sizes[1]!];
}
