/**
 * UpSampling1D and UpSampling2D: each step or pixel repeated, or, in two dimensions, values between pixels by
 * `interpolation: "bilinear"`. Bilinear interpolation is one product with a matrix along each axis, so its gradient is
 * too. Refused by name: bicubic and Lanczos interpolation, and bilinear of images beyond measure.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { LayerDefinition } from "../layer.ts";
import {
  arranged,
  checkSpatialRank,
  readChannelsFirst,
  readSizes,
  type SpatialRank,
  spatialAxesLast,
} from "./spatial.ts";

function upSampling(rank: SpatialRank): LayerDefinition {
  return (config) => {
    const factors = readSizes(config, "size", rank, 2);
    // One-dimensional data has its channels last and is repeated; Keras knows no other options.
    const channelsFirst = rank === 2 && readChannelsFirst(config);
    const interpolation =
      rank === 2 ? config.choice("interpolation", ["nearest", "bilinear"], "nearest") : "nearest";
    const enlarge = interpolation === "nearest" ? repeat : interpolate;

    return (c, [x]) => {
      checkSpatialRank(x!, rank);
      const { value, order } = spatialAxesLast(c.graph, x!, rank, channelsFirst);
      return arranged(enlarge(c.graph, value, factors), order);
    };
  };
}

function repeat(graph: GraphBuilder, x: Value, factors: readonly number[]): Value {
  const scales = graph.constant(`scales_${factors.join("_")}`, {
    datatype: "FP32",
    shape: [x.shape.length],
    data: Float32Array.of(1, 1, ...factors),
  });
  return graph.op("Resize", [x, undefined, scales], {
    mode: "nearest",
    coordinate_transformation_mode: "asymmetric",
    nearest_mode: "floor",
  });
}

/** Rows, then columns of [·, ·, height, width]. */
function interpolate(graph: GraphBuilder, x: Value, factors: readonly number[]): Value {
  const [height, width] = x.shape.slice(2) as [number, number];
  const rows = factors[0] === 1 ? x : graph.op("MatMul", [weights(graph, height, factors[0]!, false), x]);
  return factors[1] === 1 ? rows : graph.op("MatMul", [rows, weights(graph, width, factors[1]!, true)]);
}

/** Of one axis: 2048 pixels to 8192, or 4096 to themselves. */
const MAX_WEIGHTS = 2 ** 24;

/**
 * [size·factor, size], or its transpose: what each new pixel takes of the old ones. Pixels are areas, the centre of
 * the i-th new one lies at (i + 1/2)/factor - 1/2; beyond the outer centres the outer pixels count alone.
 */
function weights(graph: GraphBuilder, size: number, factor: number, transposed: boolean): Value {
  const wide = size * factor;
  if (wide * size > MAX_WEIGHTS)
    throw new InvalidModelError("input", `${size} pixels are too many to interpolate to ${wide}`);
  const data = new Float32Array(wide * size);
  const put = (i: number, from: number, weight: number) => {
    const pixel = Math.min(Math.max(from, 0), size - 1);
    data[transposed ? pixel * wide + i : i * size + pixel]! += weight;
  };
  for (let i = 0; i < wide; i++) {
    const centre = (i + 0.5) / factor - 0.5;
    const below = Math.floor(centre);
    put(i, below, 1 - (centre - below));
    put(i, below + 1, centre - below);
  }
  const shape = transposed ? [size, wide] : [wide, size];
  return graph.constant(`bilinear_${shape.join("_")}`, { datatype: "FP32", shape, data });
}

export const upSampling1d = upSampling(1);
export const upSampling2d = upSampling(2);
