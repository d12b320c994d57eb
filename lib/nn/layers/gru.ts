/**
 * GRU (Cho et al. 2014, arXiv:1406.1078): gates z, r and candidate h, as in Keras and ONNX. `reset_after` (Keras's
 * default) applies r behind the recurrent product and has a bias of its own there: bias [2, 3·units].
 */

import type { LayerDefinition } from "../layer.ts";
import { type Cell, plainBias, recurrent } from "./recurrent.ts";

const GATES = [0, 1, 2];

/** The rows of [2, 3·units]: added to the inputs, and to the recurrent product. */
const twoBiases: Cell["partBias"] = (graph, bias, units) => {
  const cut = (row: number, from: number, to: number) =>
    graph.op("Slice", [bias, graph.ints([row, from]), graph.ints([row + 1, to]), graph.ints([0, 1])]);
  const flat = (value: typeof bias) => graph.op("Reshape", [value, graph.ints([-1])]);
  // Outside the candidate both are added alike.
  const gates = graph.op("Add", [cut(0, 0, 2 * units), cut(1, 0, 2 * units)]);
  const joined = graph.op("Concat", [gates, cut(0, 2 * units, 3 * units)], { axis: 1 });
  return {
    bias: flat(joined),
    recurrentBias: flat(cut(1, 2 * units, 3 * units)),
    onnx: graph.op("Reshape", [bias, graph.ints([1, 6 * units])]),
  };
};

export const gru: LayerDefinition = (config) => {
  const resetAfter = config.boolean("reset_after", true);
  return recurrent(config, true, () => ({
    op: "GruSequence",
    onnx: "GRU",
    gates: 3,
    states: 1,
    onnxGates: GATES,
    onnxActivations: ["gate", "candidate"],
    attributes: { reset_after: resetAfter ? 1 : 0 },
    onnxAttributes: { linear_before_reset: resetAfter ? 1 : 0 },
    declareBias: (c, bias, units) =>
      c.weight({
        name: "bias",
        shape: resetAfter ? [2, 3 * units] : [3 * units],
        ...bias,
        fans: resetAfter ? { fanIn: 2, fanOut: 3 * units } : { fanIn: 3 * units, fanOut: 3 * units },
        trainable: true,
      }),
    partBias: resetAfter ? twoBiases : plainBias(GATES),
  }));
};
