/** Reshape: the sizes after the batch anew, in Keras's order of elements; one of them may be -1, what remains. */

import { InvalidModelError } from "../../errors.ts";
import { inKerasOrder, type LayerDefinition, reshapeTo } from "../layer.ts";

export const reshape: LayerDefinition = (config) => {
  const given = config.raw("target_shape");
  // TensorFlow.js writes null for the size that remains.
  const target = Array.isArray(given) ? given.map((size: number | null) => size ?? -1) : undefined;
  const open = target?.filter((size) => size === -1).length ?? 0;
  const sizes = target?.every(
    (size): size is number => Number.isSafeInteger(size) && (size > 0 || size === -1),
  );
  if (!target || !sizes || open > 1)
    return config.refuse("target_shape", given, "a list of positive integers, of which one may be -1");

  return (c, [x]) => {
    const input = inKerasOrder(c.graph, x!);
    const [batch, ...from] = input.shape;
    const elements = product(from as number[]);
    const known = product(target.filter((size) => size !== -1));
    if (open === 0 ? known !== elements : elements % known !== 0)
      throw new InvalidModelError(
        "input",
        `[batch,${from.join(",")}] has ${elements} elements an example, target_shape is [${target.join(",")}]`,
      );
    const shape = target.map((size) => (size === -1 ? elements / known : size));
    return { value: reshapeTo(c.graph, input, [batch!, ...shape]) };
  };
};

const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
