/**
 * The options `clipvalue`, `clipnorm` and `global_clipnorm` of every optimiser, as Keras applies them: each element
 * to ±limit, each weight's gradient to a norm of limit, all gradients together to a norm of limit. Only one may be
 * given. A gradient that is no number stays none, so that the run can tell that it diverged.
 */

import type { ConfigReader } from "../nn/config-reader.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { Optimizer } from "./optimizer.ts";

type Clipping = {
  /** What is clipped at a time: the gradient of one weight, or the vector of all. */
  unit: "weight" | "vector";
  /** FP32 [n] to FP32 [n]. */
  clip(graph: GraphBuilder, gradient: Value): Value;
};

const CLIPPINGS: Readonly<Record<string, (limit: number) => Clipping>> = {
  clipvalue: (limit) => ({
    unit: "vector",
    clip: (g, gradient) => g.op("Min", [g.op("Max", [gradient, g.scalar(-limit)]), g.scalar(limit)]),
  }),
  clipnorm: (limit) => ({
    unit: "weight",
    clip: (g, gradient) => g.op("Mul", [gradient, shrinkage(g, norm(g, gradient), limit)]),
  }),
  global_clipnorm: (limit) => ({
    unit: "vector",
    clip(g, gradient) {
      const length = norm(g, gradient);
      // Nought, unless the norm is infinite: then no number, for the whole vector.
      const doubt = g.op("Sub", [length, length]);
      return g.op("Mul", [gradient, g.op("Add", [shrinkage(g, length, limit), doubt])]);
    },
  }),
};

/** @throws {InvalidModelError} */
export function withClipping(optimizer: Optimizer, config: ConfigReader): Optimizer {
  const clipping = clippingOf(config);
  if (!clipping) return optimizer;
  return {
    ...optimizer,
    update(g, { gradient, ...state }) {
      const clipped =
        clipping.unit === "vector"
          ? clipping.clip(g, gradient)
          : clipEach(g, gradient, state.sizes, clipping);
      return optimizer.update(g, { ...state, gradient: clipped });
    },
  };
}

/** @throws {InvalidModelError} */
function clippingOf(config: ConfigReader): Clipping | undefined {
  let found: { option: string; clipping: Clipping } | undefined;
  for (const [option, make] of Object.entries(CLIPPINGS)) {
    const limit = config.optionalNumber(option, { above: 0 });
    if (limit === undefined) continue;
    if (found) config.refuse(option, limit, `null beside ${found.option}: only one may be given`);
    found = { option, clipping: make(limit) };
  }
  return found?.clipping;
}

function clipEach(g: GraphBuilder, gradient: Value, sizes: readonly number[], { clip }: Clipping): Value {
  if (sizes.length === 1) return clip(g, gradient);
  const parts = g.ops("Split", [gradient, g.ints(sizes)], sizes.length, { axis: 0 });
  return g.op(
    "Concat",
    parts.map((part) => clip(g, part)),
    { axis: 0 },
  );
}

function norm(g: GraphBuilder, vector: Value): Value {
  return g.op("Sqrt", [g.op("ReduceSumSquare", [vector], { keepdims: 0 })]);
}

/** limit / norm where the norm is above the limit, else exactly 1. */
function shrinkage(g: GraphBuilder, length: Value, limit: number): Value {
  return g.op("Div", [g.scalar(limit), g.op("Max", [length, g.scalar(limit)])]);
}
