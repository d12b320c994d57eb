/** Activation, a named activation function as a layer of its own, and the layers that are one function. */

import type { ActivationDefinition } from "../activations/activation.ts";
import type { LayerDefinition } from "../layer.ts";
import { readActivation } from "./common.ts";

export const activation: LayerDefinition = (config) => {
  const activate = readActivation(config);
  return (c, [x]) => activate(c, x!);
};

export const activationLayer =
  (definition: ActivationDefinition): LayerDefinition =>
  (config) => {
    const activate = definition(config);
    return (c, [x]) => activate(c.graph, x!);
  };
