/**
 * GaussianNoise adds, GaussianDropout multiplies by, normal noise in training; elsewhere both are the identity. The
 * noise is an input of the graph, drawn from the run's dropout stream.
 */

import type { Value } from "../../onnx/builder.ts";
import type { ConfigReader } from "../config-reader.ts";
import { type ApplyLayer, kerasShape, type LayerContext, type LayerDefinition } from "../layer.ts";
import { inMemory } from "./dropout.ts";

/** x + n, n of mean 0 and the given standard deviation. */
export const gaussianNoise: LayerDefinition = (config) => {
  const deviation = config.number("stddev", { min: 0 });
  return noisy(config, deviation, (c, x, noise) => c.graph.op("Add", [x, noise]));
};

/** x·(1 + n), with the standard deviation √(rate/(1 - rate)) (Srivastava and others 2014). */
export const gaussianDropout: LayerDefinition = (config) => {
  const rate = config.number("rate", { min: 0, below: 1 });
  return noisy(config, Math.sqrt(rate / (1 - rate)), (c, x, noise) =>
    c.graph.op("Mul", [x, c.graph.op("Add", [noise, c.graph.scalar(1)])]),
  );
};

function noisy(
  config: ConfigReader,
  deviation: number,
  join: (c: LayerContext, x: Value, noise: Value) => Value,
): ApplyLayer {
  // A run has one seed for all its layers that draw.
  config.ignore("seed");
  return (c, [x]) => {
    if (!c.training || deviation === 0) return x!;
    const drawn = c.random({ kind: "normal" }, inMemory(x!, kerasShape(x!)));
    const value = join(c, x!.value, c.graph.op("Mul", [drawn, c.graph.scalar(deviation)]));
    return x!.order ? { value, order: x!.order } : { value };
  };
}
