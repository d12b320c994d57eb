/**
 * LayerNormalization (Ba, Kiros and Hinton 2016, arXiv:1607.06450) over one axis or several, and RMSNormalization
 * (Zhang and Sennrich 2019, arXiv:1910.07467), which leaves the mean where it is.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { float, literalOf } from "../../onnx/graph.ts";
import type { ConfigReader } from "../config-reader.ts";
import { fansOf, initializerOf } from "../initializers.ts";
import { inOrder, kerasShape, type LayerContext, type LayerDefinition } from "../layer.ts";
import { endingWith, placesOf, readAxes, sizesAt } from "./axes.ts";
import { type DeclaredWeight, readWeight, refusePenalties } from "./common.ts";

export const layerNormalization: LayerDefinition = (config) => {
  const axes = readAxes(config, -1);
  checkSigns(config, axes);
  const epsilon = config.number("epsilon", { fallback: 1e-3, min: 0 });
  const center = config.boolean("center", true);
  const scale = config.boolean("scale", true);
  const declaredBeta = readWeight(config, "beta", "Zeros");
  const declaredGamma = readWeight(config, "gamma", "Ones");
  config.unset("rms_scaling", false);
  refusePenalties(config);

  return (c, [x]) => {
    const places = placesOf(axes, kerasShape(x!));
    const sizes = sizesAt(x!, places);
    const order = endingWith(x!, places);
    const input = inOrder(c.graph, x!, order);
    const gamma = scale ? weightOf(c, "gamma", sizes, declaredGamma) : ones(c.graph, sizes);
    const beta = center ? weightOf(c, "beta", sizes, declaredBeta) : undefined;
    const value = c.graph.op("LayerNormalization", beta ? [input, gamma, beta] : [input, gamma], {
      axis: -places.length,
      epsilon: float(epsilon),
    });
    return inKeras(order) ? { value } : { value, order };
  };
};

const ONES: DeclaredWeight = { initializer: initializerOf({ class_name: "Ones", config: {} }, "scale") };

/** x·scale/√(mean x² + epsilon) */
export const rmsNormalization: LayerDefinition = (config) => {
  const axes = readAxes(config, -1);
  checkSigns(config, axes);
  const epsilon = config.number("epsilon", { fallback: 1e-6, min: 0 });
  refusePenalties(config);

  return (c, [x]) => {
    const g = c.graph;
    const places = placesOf(axes, kerasShape(x!));
    const sizes = sizesAt(x!, places);
    // The scale belongs to the last axes in Keras, whichever are normalised.
    if (places.some((place, i) => place !== x!.value.shape.length - places.length + i))
      config.refuse("axis", axes, "the last axes");
    const order = endingWith(x!, places);
    const input = inOrder(g, x!, order);
    const scale = weightOf(c, "scale", sizes, ONES);
    const over = g.ints(places.map((_, i) => i - places.length));
    const squares = g.op("ReduceMean", [g.op("Mul", [input, input]), over], { keepdims: 1 });
    const length = g.op("Sqrt", [g.op("Add", [squares, g.scalar(epsilon)])]);
    const value = g.op("Mul", [g.op("Div", [input, length]), scale]);
    return inKeras(order) ? { value } : { value, order };
  };
};

/** Keras sorts axes as they are written, and would mix up axes counted from both ends. */
function checkSigns(config: ConfigReader, axes: readonly number[]): void {
  if (axes.length === 0) config.refuse("axis", axes, "at least one axis");
  if (new Set(axes.map((axis) => axis < 0)).size > 1)
    config.refuse("axis", axes, "axes counted from the same end");
}

function weightOf(c: LayerContext, name: string, shape: number[], declared: DeclaredWeight): Value {
  return c.weight({ name, shape, ...declared, fans: fansOf(shape), trainable: true });
}

function ones(graph: GraphBuilder, sizes: number[]): Value {
  const count = sizes.reduce((a, b) => a * b, 1);
  return graph.constant(`ones:${sizes.join()}`, literalOf(new Float32Array(count).fill(1), sizes));
}

const inKeras = (order: readonly number[]) => order.every((axis, i) => axis === i);
