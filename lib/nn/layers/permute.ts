/**
 * Permute: the axes after the batch in another order, numbered from 1. Only what the axes are called changes; no
 * element moves until a layer needs them elsewhere.
 */

import { InvalidModelError } from "../../errors.ts";
import type { LayerDefinition } from "../layer.ts";
import { arranged } from "./spatial.ts";

export const permute: LayerDefinition = (config) => {
  const dims = config.raw("dims");
  const numbers = Array.isArray(dims) ? dims.toSorted((a: number, b: number) => a - b) : [];
  if (!Array.isArray(dims) || dims.length === 0 || numbers.some((axis, i) => axis !== i + 1))
    return config.refuse("dims", dims, "every axis after the batch once, numbered from 1");
  const source = [0, ...(dims as number[])];

  return (_, [x]) => {
    const rank = x!.value.shape.length;
    if (rank !== source.length)
      throw new InvalidModelError(
        "input",
        `dims [${dims}] need rank ${source.length}, received rank ${rank}`,
      );
    const order = x!.order ?? source.map((_, axis) => axis);
    return arranged(
      x!.value,
      order.map((axis) => source.indexOf(axis)),
    );
  };
};
