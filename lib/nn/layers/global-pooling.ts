/**
 * GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D: one number per example and
 * channel, taken where the axes lie in memory. GlobalAveragePooling1D averages the steps that a mask lets count, and
 * gives no number where none does, as Keras does.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { inOrder, type LayerDefinition, type LayerValue, reshapeTo } from "../layer.ts";
import {
  arranged,
  checkSpatialRank,
  placesOf,
  readChannelsFirst,
  type SpatialRank,
  spatialAxes,
} from "./spatial.ts";

function globalPooling(op: "ReduceMean" | "ReduceMax", rank: SpatialRank): LayerDefinition {
  return (config) => {
    const axes = spatialAxes(rank, readChannelsFirst(config));
    const keepdims = config.boolean("keepdims", false);

    return (c, [x]) => {
      checkSpatialRank(x!, rank);
      const places = c.graph.ints(placesOf(x!, axes));
      const reduce = (name: string, value: Value) =>
        c.graph.op(name, [value, places], { keepdims: keepdims ? 1 : 0 });
      const counts = op === "ReduceMean" && rank === 1 ? countedSteps(c.graph, x!, axes[0]!) : undefined;
      const value = counts
        ? c.graph.op("Div", [
            reduce("ReduceSum", c.graph.op("Where", [counts, x!.value, c.graph.scalar(0)])),
            reduce("ReduceSum", c.graph.op("Cast", [counts], { to: ONNX_TYPE.FP32 })),
          ])
        : reduce(op, x!.value);
      return arranged(value, keepdims ? x!.order : orderWithout(x!.order, axes));
    };
  };
}

/** The mask [batch, steps] as it lies beside the value, with one channel; undefined when there is none. */
function countedSteps(graph: GraphBuilder, x: LayerValue, axis: number): Value | undefined {
  if (!x.mask) return undefined;
  const [batch, steps] = x.mask.shape as [Dim, Dim];
  const shape = axis === 1 ? [batch, steps, 1] : [batch, 1, steps];
  return inOrder(graph, { value: reshapeTo(graph, x.mask, shape) }, x.order);
}

/** The order of the axes that stay: of batch and channels the batch is axis 0. */
function orderWithout(order: readonly number[] | undefined, axes: readonly number[]) {
  return order?.filter((axis) => !axes.includes(axis)).map((axis) => (axis === 0 ? 0 : 1));
}

export const globalAveragePooling1d = globalPooling("ReduceMean", 1);
export const globalAveragePooling2d = globalPooling("ReduceMean", 2);
export const globalMaxPooling1d = globalPooling("ReduceMax", 1);
export const globalMaxPooling2d = globalPooling("ReduceMax", 2);
