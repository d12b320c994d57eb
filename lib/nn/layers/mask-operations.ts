/**
 * The operations by which Keras 3 writes the masks of Embedding, Masking and merge layers into a functional model:
 * `not_equal(ids, 0)`, `any(not_equal(x, value), axis=-1)`, `logical_or(a, b)`, and for those of Concatenate
 * `logical_or(expand_dims(mask, -1), zeros_like(x))` and `ones_like(x)`. They give BOOL.
 */

import { InvalidModelError } from "../../errors.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";

/** The number that NotEqual compares with, as it is written among the positional arguments. */
const NUMBER = "args[1]";
export const NOT_EQUAL_ARGUMENTS = [NUMBER];

export const notEqual: LayerDefinition = () => (c, inputs, call) => {
  const { graph } = c;
  const number = call.options.get(NUMBER);
  if (inputs.length !== 1 || typeof number !== "number")
    throw new InvalidModelError("inbound_nodes", "NotEqual takes one tensor and one number");
  const value = inKerasOrder(graph, inputs[0]!);
  const compared =
    value.datatype === "INT32"
      ? graph.constant(`int32_${number}`, { datatype: "INT32", shape: [], data: Int32Array.of(number) })
      : graph.scalar(number);
  return { value: graph.op("Not", [graph.op("Equal", [value, compared])]) };
};

export const any: LayerDefinition = (config) => {
  const given = config.raw("axis") ?? config.refuse("axis", null, "one axis");
  const axis = Array.isArray(given) && given.length === 1 ? given[0] : given;
  if (!Number.isSafeInteger(axis)) config.refuse("axis", given, "one axis");
  const keepdims = config.boolean("keepdims", false);

  return (c, [x]) => {
    const { graph } = c;
    const numbers = graph.op("Cast", [inKerasOrder(graph, x!)], { to: ONNX_TYPE.FP32 });
    const most = graph.op("ReduceMax", [graph.op("Abs", [numbers]), graph.ints([axis as number])], {
      keepdims: keepdims ? 1 : 0,
    });
    return { value: graph.op("Cast", [most], { to: ONNX_TYPE.BOOL }) };
  };
};

export const logicalOr: LayerDefinition = () => (c, inputs) => {
  const [a, b] = inputs.map((x) => inKerasOrder(c.graph, x));
  if (inputs.length !== 2 || a?.datatype !== "BOOL" || b?.datatype !== "BOOL")
    throw new InvalidModelError("inbound_nodes", "LogicalOr takes two masks");
  return { value: c.graph.op("Or", [a, b]) };
};

export const expandDims: LayerDefinition = (config) => {
  const axis = config.raw("axis");
  if (!Number.isSafeInteger(axis)) return config.refuse("axis", axis, "one axis");

  return (c, [x]) => {
    const value = inKerasOrder(c.graph, x!);
    const rank = value.shape.length + 1;
    const place = (axis as number) < 0 ? (axis as number) + rank : (axis as number);
    if (place < 1 || place >= rank)
      throw new InvalidModelError(
        "axis",
        `received ${axis}, expected a place after the batch of [${value.shape.join(",")}]`,
      );
    return { value: c.graph.op("Unsqueeze", [value, c.graph.ints([place])]) };
  };
};

/** BOOL of the shape of the input, the only type that masks are made of. */
const filled =
  (all: boolean): LayerDefinition =>
  (config) => {
    const dtype = config.raw("dtype");
    if (dtype !== "bool") config.refuse("dtype", dtype, '"bool": it is read for masks alone');
    return (c, [x]) => {
      const { graph } = c;
      const { value } = x!;
      // No number is less than itself.
      const never = graph.op("Less", [value, value]);
      const given = all ? graph.op("Not", [never]) : never;
      return x!.order ? { value: given, order: x!.order } : { value: given };
    };
  };

export const zerosLike = filled(false);
export const onesLike = filled(true);
