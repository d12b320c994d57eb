/**
 * Activations that recurrent cells may use: those whose slope follows from their output, so that the way back needs
 * no more than the gates. Names are Keras's. To add one: an entry in the table.
 */

import type { GraphBuilder, Value } from "./builder.ts";
import { float } from "./graph.ts";
import { ONNX_TYPE } from "./proto.ts";

export type GateActivation = {
  append: (graph: GraphBuilder, x: Value) => Value;
  /** factor·slope, from the output y and the product factor·y. */
  slope: (graph: GraphBuilder, factor: Value, y: Value, product: () => Value) => Value;
  /** Whether the slope is found from the output and the product alone. */
  byProduct?: true;
  /** As ONNX's recurrent operators name it, with alpha and beta. */
  onnx: readonly [name: string, alpha?: number, beta?: number];
};

const mul = (graph: GraphBuilder, a: Value, b: Value) => graph.op("Mul", [a, b]);
const sub = (graph: GraphBuilder, a: Value, b: Value) => graph.op("Sub", [a, b]);

/** factor where `above` < y < `below`. */
function within(graph: GraphBuilder, factor: Value, y: Value, above: number, below?: number): Value {
  const over = graph.op("Greater", [y, graph.scalar(above)]);
  const inside =
    below === undefined ? over : graph.op("And", [over, graph.op("Less", [y, graph.scalar(below)])]);
  return mul(graph, factor, graph.op("Cast", [inside], { to: ONNX_TYPE.FP32 }));
}

function hardSigmoid(slope: number): GateActivation {
  return {
    append: (graph, x) => graph.op("HardSigmoid", [x], { alpha: float(slope), beta: float(0.5) }),
    slope: (graph, factor, y) => within(graph, mul(graph, factor, graph.scalar(slope)), y, 0, 1),
    onnx: ["HardSigmoid", slope, 0.5],
  };
}

export const GATE_ACTIVATIONS: Readonly<Record<string, GateActivation>> = {
  linear: { append: (_, x) => x, slope: (_, factor) => factor, onnx: ["Affine", 1, 0] },
  sigmoid: {
    append: (graph, x) => graph.op("Sigmoid", [x]),
    slope: (graph, _, y, product) => sub(graph, product(), mul(graph, product(), y)),
    byProduct: true,
    onnx: ["Sigmoid"],
  },
  tanh: {
    append: (graph, x) => graph.op("Tanh", [x]),
    slope: (graph, factor, y, product) => sub(graph, factor, mul(graph, product(), y)),
    onnx: ["Tanh"],
  },
  relu: {
    append: (graph, x) => graph.op("Relu", [x]),
    slope: (graph, factor, y) => within(graph, factor, y, 0),
    onnx: ["Relu"],
  },
  hard_sigmoid: hardSigmoid(1 / 6),
  keras2_hard_sigmoid: hardSigmoid(0.2),
  /** (1 - |y|)² */
  softsign: {
    append: (graph, x) => graph.op("Softsign", [x]),
    slope: (graph, factor, y) => {
      const rest = sub(graph, graph.scalar(1), graph.op("Abs", [y]));
      return mul(graph, factor, mul(graph, rest, rest));
    },
    onnx: ["Softsign"],
  },
  /** 1 - exp(-y) */
  softplus: {
    append: (graph, x) => graph.op("Softplus", [x]),
    slope: (graph, factor, y) =>
      mul(graph, factor, sub(graph, graph.scalar(1), graph.op("Exp", [graph.op("Neg", [y])]))),
    onnx: ["Softplus"],
  },
  /** 1 above 0, y + 1 below. */
  elu: {
    append: (graph, x) => graph.op("Elu", [x]),
    slope: (graph, factor, y) =>
      mul(graph, factor, graph.op("Add", [graph.op("Min", [y, graph.scalar(0)]), graph.scalar(1)])),
    onnx: ["Elu", 1],
  },
};
