/**
 * Masking: a step of [batch, steps, features] whose features all have one value does not count. It is set to zero
 * and the mask is false there.
 */

import { InvalidModelError } from "../../errors.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";

export const masking: LayerDefinition = (config) => {
  const absent = config.number("mask_value", { fallback: 0 });

  return (c, [x]) => {
    const { graph } = c;
    const value = inKerasOrder(graph, x!);
    if (value.shape.length !== 3)
      throw new InvalidModelError(
        "input",
        `needs [batch, steps, features], received [${value.shape.join(",")}]`,
      );
    const same = graph.op("Equal", [value, graph.scalar(absent)]);
    const present = graph.op("Cast", [graph.op("Not", [same])], { to: ONNX_TYPE.FP32 });
    const counts = graph.op("ReduceMax", [present, graph.ints([-1])], { keepdims: 1 });
    const mask = graph.op("Cast", [graph.op("Squeeze", [counts, graph.ints([2])])], { to: ONNX_TYPE.BOOL });
    return { value: graph.op("Mul", [value, counts]), mask };
  };
};
