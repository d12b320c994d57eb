/** Conv2D. Kernel in memory [filters, channels, height, width]; works on [N, C, H, W] whatever `data_format` says. */

import { InvalidModelError } from "../../errors.ts";
import { CHANNELS_FIRST_2D, inOrder, type LayerDefinition } from "../layer.ts";
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
    const order = channelsFirst ? undefined : CHANNELS_FIRST_2D;
    if (x!.value.shape.length !== 4)
      throw new InvalidModelError(
        "input",
        `needs [batch, height, width, channels], received rank ${x!.value.shape.length}`,
      );
    const input = inOrder(c.graph, x!, order);
    const [, channels, ...spatial] = input.shape as number[];
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
    const value = c.graph.op("Conv", bias ? [input, kernel, bias] : [input, kernel], {
      kernel_shape: kernelSize,
      strides,
      dilations,
      pads: paddingOf(padding, spatial, kernelSize, strides, dilations),
    });
    return activate(c, order ? { value, order } : { value });
  };
};
