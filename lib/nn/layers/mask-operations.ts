/**
 * NotEqual, Any and LogicalOr, the operations by which Keras 3 writes the masks of Embedding, Masking and merge layers
 * into a functional model: `not_equal(ids, 0)`, `any(not_equal(x, value), axis=-1)`, `logical_or(a, b)`. They give BOOL.
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
  const [a, b] = inputs.map((x) => x.value);
  if (inputs.length !== 2 || a?.datatype !== "BOOL" || b?.datatype !== "BOOL")
    throw new InvalidModelError("inbound_nodes", "LogicalOr takes two masks");
  return { value: c.graph.op("Or", [a, b]) };
};
