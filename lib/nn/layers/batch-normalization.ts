/**
 * BatchNormalization (Ioffe and Szegedy 2015, arXiv:1502.03167) along one axis, as Keras 3 computes it: in training
 * by the batch's mean and biased variance, which also update the moving averages; elsewhere, and when the layer is
 * frozen, by the moving averages. Positions that a mask leaves out do not count in training.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import type { ConfigReader } from "../config-reader.ts";
import { inOrder, type LayerContext, type LayerDefinition, type LayerValue, reshapeTo } from "../layer.ts";
import { alongAxis, readInitializer, readWeight, refusePenalties } from "./common.ts";

/** Added to the number of positions that count. */
const KERAS_EPSILON = 1e-7;

/** Keras 3 writes the axis as a number, Keras 2 as a list of one. */
function readAxis(config: ConfigReader): number {
  const given = config.raw("axis") ?? -1;
  const axis = Array.isArray(given) && given.length === 1 ? given[0] : given;
  return Number.isSafeInteger(axis) ? (axis as number) : config.refuse("axis", given, "one axis");
}

export const batchNormalization: LayerDefinition = (config) => {
  const axis = readAxis(config);
  const momentum = config.number("momentum", { fallback: 0.99, min: 0, max: 1 });
  const epsilon = config.number("epsilon", { fallback: 1e-3, min: 0 });
  const center = config.boolean("center", true);
  const scale = config.boolean("scale", true);
  const declared = {
    beta: readWeight(config, "beta", "Zeros"),
    gamma: readWeight(config, "gamma", "Ones"),
    moving_mean: { initializer: readInitializer(config, "moving_mean_initializer", "Zeros") },
    moving_variance: { initializer: readInitializer(config, "moving_variance_initializer", "Ones") },
  };
  config.unset("synchronized", false);
  config.unset("renorm", false);
  config.unset("virtual_batch_size");
  // Without renorm its settings have no effect.
  config.ignore("fused", "renorm_clipping", "renorm_momentum");
  refusePenalties(config);

  return (c, [x]) => {
    const { value, order } = x!;
    const rank = value.shape.length;
    const kerasAxis = axis < 0 ? axis + rank : axis;
    const channelAxis = order ? order.indexOf(kerasAxis) : kerasAxis;
    const size = value.shape[channelAxis];
    if (kerasAxis === 0) throw new InvalidModelError("axis", "received 0, the batch; expected another axis");
    if (typeof size !== "number") throw new InvalidModelError("input", `axis ${axis} must have a known size`);
    const g = c.graph;
    const weight = (name: keyof typeof declared, trainable: boolean) =>
      c.weight({
        name,
        shape: [size],
        ...declared[name],
        fans: { fanIn: size, fanOut: size },
        trainable,
      });
    const gamma = scale ? weight("gamma", true) : undefined;
    const beta = center ? weight("beta", true) : undefined;
    const movingMean = weight("moving_mean", false);
    const movingVariance = weight("moving_variance", false);

    let mean = movingMean;
    let variance = movingVariance;
    let centered: typeof value;
    if (c.training && !c.frozen) {
      const others = g.ints(value.shape.flatMap((_, i) => (i === channelAxis ? [] : [i])));
      const average = averaging(c, x!, others, kerasAxis === rank - 1);
      mean = average(value);
      centered = g.op("Sub", [value, alongAxis(c, mean, rank, channelAxis)]);
      variance = average(g.op("Mul", [centered, centered]));
      for (const [moving, batch] of [
        [movingMean, mean],
        [movingVariance, variance],
      ] as const) {
        const kept = g.op("Mul", [moving, g.scalar(momentum)]);
        c.updateWeight(moving, g.op("Add", [kept, g.op("Mul", [batch, g.scalar(1 - momentum)])]));
      }
    } else centered = g.op("Sub", [value, alongAxis(c, mean, rank, channelAxis)]);

    const deviation = g.op("Sqrt", [g.op("Add", [variance, g.scalar(epsilon)])]);
    const factor = gamma ? g.op("Div", [gamma, deviation]) : g.op("Reciprocal", [deviation]);
    const scaled = g.op("Mul", [centered, alongAxis(c, factor, rank, channelAxis)]);
    const result = beta ? g.op("Add", [scaled, alongAxis(c, beta, rank, channelAxis)]) : scaled;
    return order ? { value: result, order } : { value: result };
  };
};

/** The mean of each channel: over all positions or, where there is a mask, over those that count. */
function averaging(
  { graph }: LayerContext,
  x: LayerValue,
  others: Value,
  lastAxis: boolean,
): (value: Value) => Value {
  if (x.mask?.shape.length !== x.value.shape.length - 1)
    return (value) => graph.op("ReduceMean", [value, others], { keepdims: 0 });
  if (!lastAxis) throw new InvalidModelError("axis", "received another axis than the last, with a mask");
  const spread = reshapeTo(graph, x.mask, [...x.mask.shape, 1]);
  const counts = graph.op("Cast", [inOrder(graph, { value: spread }, x.order)], { to: ONNX_TYPE.FP32 });
  const total = graph.op("Add", [
    graph.op("ReduceSum", [counts], { keepdims: 0 }),
    graph.scalar(KERAS_EPSILON),
  ]);
  return (value) =>
    graph.op("Div", [
      graph.op("ReduceSum", [graph.op("Mul", [value, counts]), others], { keepdims: 0 }),
      total,
    ]);
}
