/** ZeroPadding1D, ZeroPadding2D: zeros at the ends, added where the axes lie in memory. */

import type { LayerDefinition } from "../layer.ts";
import { readMargins } from "./margins.ts";
import {
  arranged,
  checkSpatialRank,
  placesOf,
  readChannelsFirst,
  type SpatialRank,
  spatialAxes,
} from "./spatial.ts";

function zeroPadding(rank: SpatialRank): LayerDefinition {
  return (config) => {
    const { before, after } = readMargins(config, "padding", rank, 1);
    const axes = spatialAxes(rank, readChannelsFirst(config));

    return (c, [x]) => {
      checkSpatialRank(x!, rank);
      const places = placesOf(x!, axes);
      if ([...before, ...after].every((size) => size === 0)) return arranged(x!.value, x!.order);
      const at = (ends: readonly number[]) =>
        x!.value.shape.map((_, place) => ends[places.indexOf(place)] ?? 0);
      const pads = c.graph.ints([...at(before), ...at(after)]);
      return arranged(c.graph.op("Pad", [x!.value, pads, c.graph.scalar(0)]), x!.order);
    };
  };
}

export const zeroPadding1d = zeroPadding(1);
export const zeroPadding2d = zeroPadding(2);
