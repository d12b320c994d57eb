/**
 * Dropout: in training each element is kept with probability 1 - rate and scaled by 1/(1 - rate); elsewhere the
 * identity. The mask is an input of the graph, drawn from the run's dropout stream, so that a run can be repeated
 * and resumed exactly.
 */

import { InvalidModelError } from "../../errors.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { LayerDefinition } from "../layer.ts";

export const dropout: LayerDefinition = (config) => {
  const rate = config.number("rate", { min: 0, below: 1 });
  // A run has one seed for all its dropout layers.
  config.ignore("seed");
  config.unset("noise_shape");

  return (c, [x]) => {
    if (!c.training || rate === 0) return x!;
    const shape = x!.value.shape;
    if (!shape.every((size): size is number => typeof size === "number"))
      throw new InvalidModelError("input", "a training graph needs a fixed batch");
    const kept = c.graph.op("Cast", [c.random("keep", shape, rate)], { to: ONNX_TYPE.FP32 });
    const mask = c.graph.op("Mul", [kept, c.graph.scalar(1 / (1 - rate))]);
    const value = c.graph.op("Mul", [x!.value, mask]);
    return x!.order ? { value, order: x!.order } : { value };
  };
};
