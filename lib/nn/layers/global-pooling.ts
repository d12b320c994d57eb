/**
 * GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D: one number per example and
 * channel, taken where the axes lie in memory.
 */

import type { LayerDefinition } from "../layer.ts";
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
      const places = placesOf(x!, axes);
      const value = c.graph.op(op, [x!.value, c.graph.ints(places)], { keepdims: keepdims ? 1 : 0 });
      return arranged(value, keepdims ? x!.order : orderWithout(x!.order, axes));
    };
  };
}

/** The order of the axes that stay: of batch and channels the batch is axis 0. */
function orderWithout(order: readonly number[] | undefined, axes: readonly number[]) {
  return order?.filter((axis) => !axes.includes(axis)).map((axis) => (axis === 0 ? 0 : 1));
}

export const globalAveragePooling1d = globalPooling("ReduceMean", 1);
export const globalAveragePooling2d = globalPooling("ReduceMean", 2);
export const globalMaxPooling1d = globalPooling("ReduceMax", 1);
export const globalMaxPooling2d = globalPooling("ReduceMax", 2);
