/**
 * AlphaDropout (Klambauer and others 2017, arXiv:1706.02515), for networks of selu: what is dropped takes the value
 * selu has far below zero, and the whole is scaled and moved so that mean and variance stay.
 */

import { ONNX_TYPE } from "../../onnx/proto.ts";
import { kerasShape, type LayerDefinition } from "../layer.ts";
import { inMemory } from "./dropout.ts";

const FAR_BELOW = -1.6732632423543772 * 1.0507009873554805;

export const alphaDropout: LayerDefinition = (config) => {
  const rate = config.number("rate", { min: 0, below: 1 });
  // A run has one seed for all its layers that draw.
  config.ignore("seed");
  config.unset("noise_shape");
  const scale = ((1 - rate) * (1 + rate * FAR_BELOW ** 2)) ** -0.5;
  const offset = -scale * FAR_BELOW * rate;

  return (c, [x]) => {
    if (!c.training || rate === 0) return x!;
    const g = c.graph;
    const mask = c.random({ kind: "keep", rate }, inMemory(x!, kerasShape(x!)));
    const kept = g.op("Cast", [mask], { to: ONNX_TYPE.FP32 });
    // Kept: scale·x + offset. Dropped: scale·FAR_BELOW + offset.
    const low = g.scalar(scale * FAR_BELOW + offset);
    const above = g.op("Sub", [g.op("Mul", [x!.value, g.scalar(scale)]), g.scalar(scale * FAR_BELOW)]);
    const value = g.op("Add", [g.op("Mul", [above, kept]), low]);
    return x!.order ? { value, order: x!.order } : { value };
  };
};
