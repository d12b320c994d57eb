/** Cropping1D, Cropping2D: rows and columns off the ends, cut where the axes lie in memory. */

import { InvalidModelError } from "../../errors.ts";
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

function cropping(rank: SpatialRank): LayerDefinition {
  return (config) => {
    const { before, after } = readMargins(config, "cropping", rank, rank === 1 ? 1 : 0);
    const axes = spatialAxes(rank, readChannelsFirst(config));

    return (c, [x]) => {
      checkSpatialRank(x!, rank);
      const places = placesOf(x!, axes);
      const sizes = places.map((place) => x!.value.shape[place] as number);
      const ends = sizes.map((size, i) => size - after[i]!);
      if (ends.some((end, i) => end <= before[i]!))
        throw new InvalidModelError(
          "input",
          `sizes [${sizes}] are too small to crop [${before}] and [${after}]`,
        );
      if ([...before, ...after].every((size) => size === 0)) return arranged(x!.value, x!.order);
      const bounds = [before, ends, places].map((numbers) => c.graph.ints(numbers));
      return arranged(c.graph.op("Slice", [x!.value, ...bounds]), x!.order);
    };
  };
}

export const cropping1d = cropping(1);
export const cropping2d = cropping(2);
