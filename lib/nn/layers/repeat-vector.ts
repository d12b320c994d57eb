/** RepeatVector: [batch, features] to [batch, n, features]. */

import { InvalidModelError } from "../../errors.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";

export const repeatVector: LayerDefinition = (config) => {
  const count = config.integer("n", {});

  return (c, [x]) => {
    if (x!.value.shape.length !== 2)
      throw new InvalidModelError("input", `needs [batch, features], received rank ${x!.value.shape.length}`);
    const row = c.graph.op("Unsqueeze", [inKerasOrder(c.graph, x!), c.graph.ints([1])]);
    return { value: c.graph.op("Expand", [row, c.graph.ints([1, count, 1])]) };
  };
};
