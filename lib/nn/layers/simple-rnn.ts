/** SimpleRNN: h' = activation(x·W + h·R + b). */

import type { LayerDefinition } from "../layer.ts";
import { plainBias, recurrent } from "./recurrent.ts";

export const simpleRnn: LayerDefinition = (config) =>
  recurrent(config, false, () => ({
    op: "RnnSequence",
    onnx: "RNN",
    gates: 1,
    states: 1,
    onnxGates: [0],
    onnxActivations: ["candidate"],
    attributes: {},
    onnxAttributes: {},
    declareBias: (c, bias, units) =>
      c.weight({
        name: "bias",
        shape: [units],
        ...bias,
        fans: { fanIn: units, fanOut: units },
        trainable: true,
      }),
    partBias: plainBias([0]),
  }));
