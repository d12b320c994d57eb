/**
 * SeparableConv1D and SeparableConv2D (Chollet 2017, arXiv:1610.02357): a depthwise convolution without a bias, then
 * one of a single place that mixes the channels. Kernels in memory [channels, multiplier, ...sizes] and
 * [filters, channels·multiplier, 1...].
 */

import type { LayerDefinition } from "../layer.ts";
import { readActivation, readWeight, refusePenalties } from "./common.ts";
import {
  biasOf,
  type ConvWindow,
  convolve,
  imagesOf,
  kernelOf,
  orderFor,
  readBias,
  readWindow,
} from "./conv-window.ts";
import { convolveDepthwise } from "./depthwise-conv.ts";

const separableConv =
  (rank: 1 | 2): LayerDefinition =>
  (config) => {
    const filters = config.integer("filters", {});
    const multiplier = config.integer("depth_multiplier", { fallback: 1 });
    const window = readWindow(config, rank);
    const depthwise = readWeight(config, "depthwise", "GlorotUniform");
    const pointwise = readWeight(config, "pointwise", "GlorotUniform");
    const declaredBias = readBias(config);
    const activate = readActivation(config);
    // Keras 2 writes Conv2D's options too; the two kernels have their own.
    config.unset("groups", 1);
    config.ignore("kernel_initializer");
    refusePenalties(config, "kernel");
    const place: ConvWindow = {
      ...window,
      kernel: [1, 1],
      strides: [1, 1],
      dilations: [1, 1],
      padding: "valid",
    };

    return (c, [x]) => {
      const images = imagesOf(c, x!, window, orderFor(c));
      const channels = images.channels * multiplier;
      const each = convolveDepthwise(c, images, window, {
        name: "depthwise_kernel",
        multiplier,
        declared: depthwise,
      });
      const kernel = kernelOf(c, place, {
        name: "pointwise_kernel",
        outer: filters,
        inner: channels,
        outerIs: "last",
        fans: { fanIn: channels, fanOut: filters },
        declared: pointwise,
      });
      const bias = biasOf(c, filters, declaredBias);
      const size = each.shape.slice(2) as number[];
      return activate(c, images.leave(convolve(c, { value: each, size }, place, [kernel, bias])));
    };
  };

export const separableConv1d = separableConv(1);
export const separableConv2d = separableConv(2);
