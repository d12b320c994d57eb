/**
 * PReLU (He and others 2015, arXiv:1502.01852): x above 0, alpha·x below, with an alpha for each place of an example
 * but along `shared_axes`, which have one in common.
 */

import { InvalidModelError } from "../../errors.ts";
import { fansOf } from "../initializers.ts";
import { inOrder, kerasShape, type LayerDefinition, reshapeTo } from "../layer.ts";
import { readWeight, refusePenalties } from "./common.ts";

export const prelu: LayerDefinition = (config) => {
  const given = config.raw("shared_axes") ?? [];
  const shared: unknown[] = Array.isArray(given) ? given : [given];
  if (!shared.every((axis) => Number.isSafeInteger(axis) && (axis as number) > 0))
    config.refuse("shared_axes", given, "axes after the batch, from 1");
  const declaredAlpha = readWeight(config, "alpha", "Zeros");
  refusePenalties(config);

  return (c, [x]) => {
    const [, ...sizes] = kerasShape(x!);
    if (!sizes.every((size): size is number => typeof size === "number"))
      throw new InvalidModelError("input", "every size but the batch must be known");
    for (const axis of shared)
      if ((axis as number) > sizes.length)
        throw new InvalidModelError("shared_axes", `received ${axis}, expected 1 to ${sizes.length}`);
    const shape = sizes.map((size, i) => (shared.includes(i + 1) ? 1 : size));
    const alpha = c.weight({
      name: "alpha",
      shape,
      ...declaredAlpha,
      fans: fansOf(shape),
      trainable: true,
    });
    const slope = inOrder(c.graph, { value: reshapeTo(c.graph, alpha, [1, ...shape]) }, x!.order);
    const value = c.graph.op("PRelu", [x!.value, slope]);
    return x!.order ? { value, order: x!.order } : { value };
  };
};
