/** Normalisations that ONNX has an operator for. */

import { describe, type ShapeRule } from "./rule.ts";

const batchNormalization: ShapeRule = (n) => {
  const x = n.input(0);
  for (let i = 1; i <= 4; i++)
    if (n.input(i).shape.length !== 1 || n.input(i).shape[0] !== x.shape[1])
      n.fail(`parameter ${i} ${describe(n.input(i).shape)} does not fit ${x.shape[1]} channels`);
  return [{ datatype: x.datatype, shape: [...x.shape] }];
};

const layerNormalization: ShapeRule = (n) => [
  { datatype: n.input(0).datatype, shape: [...n.input(0).shape] },
];

export const normalization: Record<string, ShapeRule> = {
  BatchNormalization: batchNormalization,
  LayerNormalization: layerNormalization,
};
