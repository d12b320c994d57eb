/**
 * SinePositionEncoding, as KerasHub declares it (Vaswani et al. 2017, arXiv:1706.03762): sines at even places, cosines
 * at odd ones, of wavelengths that grow geometrically to `max_wavelength`. A constant, spread over the batch of what
 * it is applied to.
 */

import { literalOf } from "../../onnx/graph.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";
import { spreadLike, stepsAndSize } from "./position-embedding.ts";

export const sinePositionEncoding: LayerDefinition = (config) => {
  const longest = config.number("max_wavelength", { fallback: 10_000, above: 0 });

  return (c, [x]) => {
    const like = inKerasOrder(c.graph, x!);
    const [steps, size] = stepsAndSize(like);
    const data = Float32Array.from({ length: steps * size }, (_, i) => {
      const [step, place] = [Math.floor(i / size), i % size];
      const angle = step / longest ** ((2 * Math.floor(place / 2)) / size);
      return place % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
    });
    const encoding = c.graph.constant(
      `sine positions ${longest}: ${steps}x${size}`,
      literalOf(data, [steps, size]),
    );
    return { value: spreadLike(c.graph, encoding, like) };
  };
};
