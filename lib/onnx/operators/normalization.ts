/** Normalisations that ONNX has an operator for. */

import { broadcast, describe, type ShapeRule } from "./rule.ts";

const batchNormalization: ShapeRule = (n) => {
  const x = n.input(0);
  for (let i = 1; i <= 4; i++)
    if (n.input(i).shape.length !== 1 || n.input(i).shape[0] !== x.shape[1])
      n.fail(`parameter ${i} ${describe(n.input(i).shape)} does not fit ${x.shape[1]} channels`);
  return [{ datatype: x.datatype, shape: [...x.shape] }];
};

/** Y and, on request, the mean and the inverse standard deviation of what was normalised, its axes kept as 1. */
const layerNormalization: ShapeRule = (n) => {
  const x = n.input(0);
  const first = n.axis(n.int("axis", -1), x.shape.length);
  const normalised = x.shape.slice(first);
  for (const i of [1, 2])
    if (n.has(i) && broadcast(n.input(i).shape, normalised)?.join() !== normalised.join())
      n.fail(`parameter ${i} ${describe(n.input(i).shape)} does not fit ${describe(normalised)}`);
  const moments = x.shape.map((size, axis) => (axis < first ? size : 1));
  return [x.shape, moments, moments]
    .slice(0, n.outputCount)
    .map((shape) => ({ datatype: x.datatype, shape: [...shape] }));
};

export const normalization: Record<string, ShapeRule> = {
  BatchNormalization: batchNormalization,
  LayerNormalization: layerNormalization,
};
