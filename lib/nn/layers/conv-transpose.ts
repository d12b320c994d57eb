/**
 * Conv1DTranspose and Conv2DTranspose: the input gradient of a convolution, as a layer. Kernel in memory
 * [channels, filters, ...sizes]. Sizes of the output are those of Keras on TensorFlow: by default the input's times
 * the strides, larger with "valid" where the kernel is.
 */

import { InvalidModelError } from "../../errors.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { LayerDefinition } from "../layer.ts";
import { readActivation, readWeight, refusePenalties } from "./common.ts";
import {
  biasOf,
  type ConvWindow,
  imagesOf,
  kernelOf,
  readBias,
  readSizes,
  readWindow,
} from "./conv-window.ts";

const convTranspose =
  (rank: 1 | 2): LayerDefinition =>
  (config) => {
    const filters = config.integer("filters", {});
    const window = readWindow(config, rank);
    const extra = config.raw("output_padding") === undefined ? undefined : readExtra(config, window);
    const declaredKernel = readWeight(config, "kernel", "GlorotUniform");
    const declaredBias = readBias(config);
    const activate = readActivation(config);
    // Keras 2 writes it as for Conv2D.
    config.unset("groups", 1);
    refusePenalties(config);

    return (c, [x]) => {
      const images = imagesOf(c, x!, window, "batch");
      const kernel = kernelOf(c, window, {
        name: "kernel",
        outer: images.channels,
        inner: filters,
        outerIs: "last",
        fans: { fanIn: filters, fanOut: images.channels },
        declared: declaredKernel,
      });
      const bias = biasOf(c, filters, declaredBias);
      const { strides, dilations } = window;
      const value = c.graph.op(
        "ConvTranspose",
        bias ? [images.value, kernel, bias] : [images.value, kernel],
        {
          kernel_shape: window.kernel,
          strides,
          dilations,
          ...borders(window, images.size, extra),
        },
      );
      return activate(c, images.leave(value));
    };
  };

function readExtra(config: ConfigReader, window: ConvWindow): number[] {
  const extra = readSizes(config, "output_padding", window.rank, undefined, 0);
  if (extra.some((size, i) => size >= window.strides[i]!))
    config.refuse("output_padding", config.raw("output_padding"), "less than the strides");
  return extra;
}

/** What is cut off the full result, (size - 1)·stride + reach, or added at its end. */
function borders(window: ConvWindow, sizes: readonly number[], extra: readonly number[] | undefined) {
  const { kernel, strides, dilations, padding } = window;
  const cut = sizes.map((size, i) => {
    const stride = strides[i]!;
    const reach = dilations[i]! * (kernel[i]! - 1) + 1;
    const before = (size - 1) * stride;
    const out =
      extra === undefined
        ? before + (padding === "same" ? stride : Math.max(reach, stride))
        : before + (padding === "same" ? reach % 2 : reach) + extra[i]!;
    if (out <= before)
      throw new InvalidModelError(
        "output_padding",
        `received ${extra![i]}, expected more for a kernel of even size with padding 'same'`,
      );
    return before + reach - out;
  });
  const begin = cut.map((size) => Math.floor(Math.max(size, 0) / 2));
  const pads = [...begin, ...cut.map((size, i) => Math.max(size, 0) - begin[i]!)];
  const output_padding = cut.map((size) => Math.max(-size, 0));
  return output_padding.some((size) => size !== 0) ? { pads, output_padding } : { pads };
}

export const conv1dTranspose = convTranspose(1);
export const conv2dTranspose = convTranspose(2);
