/**
 * LSTM (Hochreiter and Schmidhuber 1997, with forget gates): gates i, f, candidate c, o, as in Keras. With
 * `unit_forget_bias` the bias of f begins at 1.
 */

import type { Initializer } from "../initializers.ts";
import type { LayerDefinition } from "../layer.ts";
import { plainBias, recurrent } from "./recurrent.ts";

/** Keras's gates i, f, c, o in ONNX's order: i, o, f, c. */
const ONNX_GATES = [0, 3, 1, 2];

const FORGET = 1;

/** As Keras: the given initialiser for each gate but the forget gate's, which is 1. */
function unitForget(initializer: Initializer, units: number): Initializer {
  return (shape, fans, random) => {
    const values = initializer(shape, fans, random);
    return values.fill(1, FORGET * units, (FORGET + 1) * units);
  };
}

export const lstm: LayerDefinition = (config) => {
  const unitForgetBias = config.boolean("unit_forget_bias", true);
  return recurrent(config, true, () => ({
    op: "LstmSequence",
    onnx: "LSTM",
    gates: 4,
    states: 2,
    onnxGates: ONNX_GATES,
    onnxActivations: ["gate", "candidate", "candidate"],
    attributes: {},
    onnxAttributes: {},
    declareBias: (c, bias, units) =>
      c.weight({
        name: "bias",
        shape: [4 * units],
        ...bias,
        ...(unitForgetBias && { initializer: unitForget(bias.initializer, units) }),
        fans: { fanIn: 4 * units, fanOut: 4 * units },
        trainable: true,
      }),
    partBias: plainBias(ONNX_GATES),
  }));
};
