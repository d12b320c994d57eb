/**
 * Activations made of straight pieces: relu and its kin. Those with several options are the layers of the same name
 * too; Keras 2 and TensorFlow.js call the slope of LeakyReLU `alpha`.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { float } from "../../onnx/graph.ts";
import type { ConfigReader } from "../config-reader.ts";
import { type ActivationDefinition, type Elementwise, elementwise, plain } from "./activation.ts";

const leaky =
  (slope: number): Elementwise =>
  (graph, x) =>
    graph.op("LeakyRelu", [x], { alpha: float(slope) });

const clipped =
  (low: number, high: number): Elementwise =>
  (graph, x) =>
    graph.op("Clip", [x, graph.scalar(low), graph.scalar(high)]);

/** `x` where it is above `threshold`, else 0. */
const above = (graph: GraphBuilder, x: Value, threshold: number): Value =>
  graph.op("Where", [graph.op("Greater", [x, graph.scalar(threshold)]), x, graph.scalar(0)]);

/** x above the threshold, at most max_value; slope·(x - threshold) below it. */
export const relu: ActivationDefinition = (config) => {
  const slope = config.number("negative_slope", { fallback: 0, min: 0 });
  const most = config.optionalNumber("max_value", { min: 0 });
  const threshold = config.number("threshold", { fallback: 0, min: 0 });
  if (most === undefined && threshold === 0)
    return elementwise(slope === 0 ? (graph, x) => graph.op("Relu", [x]) : leaky(slope));
  return elementwise((graph, x) => {
    const kept = threshold === 0 ? x : above(graph, x, threshold);
    const positive = most === undefined ? kept : clipped(0, most)(graph, kept);
    if (slope === 0) return positive;
    const below = graph.op("Relu", [graph.op("Sub", [graph.scalar(threshold), x])]);
    return graph.op("Sub", [positive, graph.op("Mul", [below, graph.scalar(slope)])]);
  });
};

/** Keras 2's ThresholdedReLU: x above theta, else 0. */
export const thresholdedRelu: ActivationDefinition = (config) => {
  const theta = config.number("theta", { fallback: 1, min: 0 });
  return elementwise((graph, x) => above(graph, x, theta));
};

/** The function's slope is 0.2 by default, the layer's 0.3. */
export const leakyRelu =
  (fallback: number): ActivationDefinition =>
  (config) =>
    elementwise(leaky(slopeOf(config, fallback)));

function slopeOf(config: ConfigReader, fallback: number): number {
  const older = config.optionalNumber("alpha", { min: 0 });
  return config.number("negative_slope", { fallback: older ?? fallback, min: 0 });
}

export const relu6 = plain(clipped(0, 6));
export const hardTanh = plain(clipped(-1, 1));

const steps =
  (alpha: number): Elementwise =>
  (graph, x) =>
    graph.op("HardSigmoid", [x], { alpha: float(alpha), beta: float(0.5) });

/** relu6(x + 3)/6, as Keras 3 has it. */
export const hardSigmoid = plain(steps(1 / 6));
/** 0.2·x + 0.5 between 0 and 1, as Keras 2 and TensorFlow.js have it. */
export const keras2HardSigmoid = plain(steps(0.2));
/** (x + 1)/2 between 0 and 1. */
export const sparseSigmoid = plain(steps(0.5));
export const hardSilu = plain((graph, x) => graph.op("Mul", [x, steps(1 / 6)(graph, x)]));

/** Towards nought by the threshold. */
export const softShrink: ActivationDefinition = (config) => {
  const threshold = config.number("threshold", { fallback: 0.5, min: 0 });
  return elementwise((graph, x) => graph.op("Sub", [x, clipped(-threshold, threshold)(graph, x)]));
};

/** Nought up to the threshold on either side. */
export const hardShrink: ActivationDefinition = (config) => {
  const threshold = config.number("threshold", { fallback: 0.5, min: 0 });
  return elementwise((graph, x) => {
    const far = graph.op("Greater", [graph.op("Abs", [x]), graph.scalar(threshold)]);
    return graph.op("Where", [far, x, graph.scalar(0)]);
  });
};
