/** Activations without a kink, but for those of the exponential units with an alpha of their own. */

import { float } from "../../onnx/graph.ts";
import { type ActivationDefinition, type Elementwise, elementwise, plain } from "./activation.ts";

/** x above 0, alpha·(eˣ - 1) below. */
export const elu: ActivationDefinition = (config) => {
  const alpha = float(config.number("alpha", { fallback: 1 }));
  return elementwise((graph, x) => graph.op("Elu", [x], { alpha }));
};

/** x above 0, alpha·(e^(x/alpha) - 1) below. */
export const celu: ActivationDefinition = (config) => {
  const alpha = config.number("alpha", { fallback: 1, above: 0 });
  return elementwise((graph, x) => {
    const raised = graph.op("Elu", [graph.op("Mul", [x, graph.scalar(1 / alpha)])], { alpha: float(1) });
    return graph.op("Mul", [raised, graph.scalar(alpha)]);
  });
};

/** Klambauer and others 2017, arXiv:1706.02515; the constants are the operator's defaults. */
export const selu = plain((graph, x) => graph.op("Selu", [x]));

const exactGelu: Elementwise = (graph, x) => {
  const erf = graph.op("Erf", [graph.op("Mul", [x, graph.scalar(Math.SQRT1_2)])]);
  const share = graph.op("Add", [erf, graph.scalar(1)]);
  return graph.op("Mul", [graph.op("Mul", [x, graph.scalar(0.5)]), share]);
};

const tanhGelu: Elementwise = (graph, x) => {
  const cube = graph.op("Mul", [graph.op("Mul", [x, x]), x]);
  const inner = graph.op("Add", [x, graph.op("Mul", [cube, graph.scalar(0.044715)])]);
  const tanh = graph.op("Tanh", [graph.op("Mul", [inner, graph.scalar(Math.sqrt(2 / Math.PI))])]);
  return graph.op("Mul", [graph.op("Mul", [x, graph.scalar(0.5)]), graph.op("Add", [tanh, graph.scalar(1)])]);
};

/** x·Φ(x) (Hendrycks and Gimpel 2016, arXiv:1606.08415), or its approximation by tanh. */
export const gelu: ActivationDefinition = (config) =>
  elementwise(config.boolean("approximate", false) ? tanhGelu : exactGelu);

/** What TensorFlow.js calls gelu_new. */
export const geluByTanh = plain(tanhGelu);

export const silu = plain((graph, x) => graph.op("Mul", [x, graph.op("Sigmoid", [x])]));
export const mish = plain((graph, x) => graph.op("Mul", [x, graph.op("Tanh", [graph.op("Softplus", [x])])]));
export const tanhShrink = plain((graph, x) => graph.op("Sub", [x, graph.op("Tanh", [x])]));
export const logSigmoid = plain((graph, x) =>
  graph.op("Neg", [graph.op("Softplus", [graph.op("Neg", [x])])]),
);

/** (x + √(x² + b))/2 */
export const squareplus: ActivationDefinition = (config) => {
  const b = config.number("b", { fallback: 4, above: 0 });
  return elementwise((graph, x) => {
    const root = graph.op("Sqrt", [graph.op("Add", [graph.op("Mul", [x, x]), graph.scalar(b)])]);
    return graph.op("Mul", [graph.op("Add", [x, root]), graph.scalar(0.5)]);
  });
};

/** 0 up to -1, (x + 1)²/4 up to 1, x beyond. */
export const sparsePlus = plain((graph, x) => {
  const middle = graph.op("Clip", [x, graph.scalar(-1), graph.scalar(1)]);
  const root = graph.op("Mul", [graph.op("Add", [middle, graph.scalar(1)]), graph.scalar(0.5)]);
  const beyond = graph.op("Relu", [graph.op("Sub", [x, graph.scalar(1)])]);
  return graph.op("Add", [graph.op("Mul", [root, root]), beyond]);
});
