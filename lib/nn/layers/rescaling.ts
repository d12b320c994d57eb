/** Rescaling: y = x·scale + offset. */

import type { LayerDefinition } from "../layer.ts";

export const rescaling: LayerDefinition = (config) => {
  const scale = config.number("scale", {});
  const offset = config.number("offset", { fallback: 0 });

  return (c, [x]) => {
    const scaled = c.graph.op("Mul", [x!.value, c.graph.scalar(scale)]);
    const value = offset === 0 ? scaled : c.graph.op("Add", [scaled, c.graph.scalar(offset)]);
    return x!.order ? { value, order: x!.order } : { value };
  };
};
