/**
 * Sequences [batch, steps, features] as recurrent layers work on them: with the steps first in memory, where the
 * slices of a step lie together; their masks, states and directions.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { inOrder, type LayerValue } from "../layer.ts";

/** Keras's [batch, steps, features] as [steps, batch, features] in memory. */
export const STEPS_FIRST = [1, 0, 2] as const;

/** @throws {InvalidModelError} for another rank, or when steps or features vary */
export function stepsFirst(graph: GraphBuilder, x: LayerValue): Value {
  const { shape } = x.value;
  if (shape.length !== 3)
    throw new InvalidModelError("input", `needs [batch, steps, features], received [${shape.join(",")}]`);
  const value = inOrder(graph, x, STEPS_FIRST);
  if (typeof value.shape[0] !== "number" || typeof value.shape[2] !== "number")
    throw new InvalidModelError("input", `steps and features must be known, received [${shape.join(",")}]`);
  return value;
}

/** A mask BOOL [batch, steps] as [steps, batch, 1]. */
export function maskOfSteps(graph: GraphBuilder, mask: Value): Value {
  return graph.op("Unsqueeze", [graph.op("Transpose", [mask], { perm: [1, 0] }), graph.ints([2])]);
}

/** Zeros [batch, units], for as many examples as `x` [steps, batch, features] has. */
export function zeroState(graph: GraphBuilder, x: Value, units: number): Value {
  const batch = x.shape[1]!;
  if (typeof batch === "number") return graph.op("Expand", [graph.scalar(0), graph.ints([batch, units])]);
  // The batch varies: a comparison that never holds, of the first step, gives a zero for each example.
  const cut = graph.op("Slice", [x, graph.ints([0, 0]), graph.ints([1, 1]), graph.ints([0, 2])]);
  const first = graph.op("Squeeze", [cut, graph.ints([0])]);
  const never = graph.op("Cast", [graph.op("Less", [first, first])], { to: ONNX_TYPE.FP32 });
  const row = graph.constant(`zeros_${units}`, {
    datatype: "FP32",
    shape: [units],
    data: new Float32Array(units),
  });
  return graph.op("Add", [never, row]);
}

/** The steps of [steps, ...] from the last to the first; turning twice gives back the value itself. */
export function turned(graph: GraphBuilder, value: Value): Value {
  const maker = graph.nodes.findLast((node) => node.outputs[0] === value.name);
  if (
    maker?.op === "Slice" &&
    graph.constantInts(graph.valueOf(maker.inputs[4] ?? value.name))?.join() === "-1"
  )
    return graph.valueOf(maker.inputs[0]!);
  const end = -(value.shape[0] as number) - 1;
  return graph.op("Slice", [value, graph.ints([-1]), graph.ints([end]), graph.ints([0]), graph.ints([-1])]);
}

/** FP32 [steps, batch, 1], 1 from the first step on that counts; `reverse` begins at the last step. */
export function afterFirst(graph: GraphBuilder, mask: Value, reverse: boolean): Value {
  const counts = graph.op("Cast", [mask], { to: ONNX_TYPE.FP32 });
  const axis = graph.constant("axis_0", { datatype: "INT64", shape: [], data: BigInt64Array.of(0n) });
  const sum = graph.op("CumSum", [counts, axis], { reverse: reverse ? 1 : 0 });
  return graph.op("Min", [sum, graph.scalar(1)]);
}
