/** Activation: a named activation function as a layer of its own. */

import type { LayerDefinition } from "../layer.ts";
import { readActivation } from "./common.ts";

export const activation: LayerDefinition = (config) => {
  const activate = readActivation(config);
  return (c, [x]) => activate(c, x!);
};
