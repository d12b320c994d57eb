/**
 * MaxPooling1D, MaxPooling2D, AveragePooling1D, AveragePooling2D. Cells that "same" padding adds never win and are
 * not counted in an average.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { RISING } from "../../onnx/passes/pool-before-activation.ts";
import type { LayerDefinition } from "../layer.ts";
import { paddingOf } from "./padding.ts";
import {
  arranged,
  checkSpatialRank,
  readChannelsFirst,
  readSizes,
  type SpatialRank,
  spatialAxesLast,
} from "./spatial.ts";

function pooling(op: "MaxPool" | "AveragePool", rank: SpatialRank): LayerDefinition {
  return (config) => {
    const poolSize = readSizes(config, "pool_size", rank, 2);
    const strides = readSizes(config, "strides", rank, poolSize);
    const padding = config.choice("padding", ["valid", "same"], "valid");
    const channelsFirst = readChannelsFirst(config);
    const dilations = poolSize.map(() => 1);

    return (c, [x]) => {
      checkSpatialRank(x!, rank);
      const { value, order } = spatialAxesLast(c.graph, x!, rank, channelsFirst);
      const sizes = value.shape.slice(2) as number[];
      const pads = paddingOf(padding, sizes, poolSize, strides, dilations);
      const input = unjoined(c.graph, value);
      return arranged(c.graph.op(op, [input], { kernel_shape: poolSize, strides, pads }), order);
    };
  };
}

const LOWEST = -3.4028234663852886e38;

/**
 * The value, kept from being joined by ONNX Runtime to a padding that made it: the zeros that a layer padded with
 * count in a maximum and an average, the cells that the pooling pads with do not. Looks past activations, which
 * are moved behind a pooling, and past what moves no element of an image.
 */
function unjoined(graph: GraphBuilder, value: Value): Value {
  let { name } = value;
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const { op, inputs, outputs } = graph.nodes[i]!;
    if (!outputs.includes(name)) continue;
    if (op === "Pad") return graph.op("Max", [value, graph.scalar(LOWEST)]);
    if (!RISING.has(op) && op !== "Transpose" && op !== "Reshape") break;
    name = inputs[0]!;
  }
  return value;
}

export const maxPooling1d = pooling("MaxPool", 1);
export const maxPooling2d = pooling("MaxPool", 2);
export const averagePooling1d = pooling("AveragePool", 1);
export const averagePooling2d = pooling("AveragePool", 2);
