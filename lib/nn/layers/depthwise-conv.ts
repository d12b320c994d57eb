/**
 * DepthwiseConv1D and DepthwiseConv2D: every channel by kernels of its own, `depth_multiplier` of them. Kernel in
 * memory [channels, multiplier, ...sizes].
 */

import type { Value } from "../../onnx/builder.ts";
import type { LayerContext, LayerDefinition } from "../layer.ts";
import { type DeclaredWeight, readActivation, readWeight, refusePenalties } from "./common.ts";
import {
  biasOf,
  type ConvWindow,
  convolve,
  type Images,
  imagesOf,
  kernelOf,
  orderFor,
  readBias,
  readWindow,
} from "./conv-window.ts";

/** Output channel c·multiplier + m is channel c by its kernel m. */
export function convolveDepthwise(
  c: LayerContext,
  images: Images,
  window: ConvWindow,
  weights: {
    name: string;
    multiplier: number;
    declared: DeclaredWeight;
    bias?: DeclaredWeight | undefined;
  },
): Value {
  const { channels } = images;
  const { name, multiplier, declared, bias } = weights;
  const kernel = kernelOf(c, window, {
    name,
    outer: channels,
    inner: multiplier,
    outerIs: "last but one",
    fans: { fanIn: channels, fanOut: multiplier },
    declared,
  });
  const filters = channels * multiplier;
  const apart = c.graph.op("Reshape", [kernel, c.graph.ints([filters, 1, ...window.kernel])]);
  return convolve(c, images, window, [apart, biasOf(c, filters, bias)], channels);
}

const depthwiseConv =
  (rank: 1 | 2): LayerDefinition =>
  (config) => {
    const multiplier = config.integer("depth_multiplier", { fallback: 1 });
    const window = readWindow(config, rank);
    const declared = readWeight(config, "depthwise", "GlorotUniform");
    const bias = readBias(config);
    const activate = readActivation(config);
    // Keras 2 writes it as for Conv2D.
    config.unset("groups", 1);
    refusePenalties(config);

    return (c, [x]) => {
      const images = imagesOf(c, x!, window, orderFor(c));
      const value = convolveDepthwise(c, images, window, { name: "kernel", multiplier, declared, bias });
      return activate(c, images.leave(value));
    };
  };

export const depthwiseConv1d = depthwiseConv(1);
export const depthwiseConv2d = depthwiseConv(2);
