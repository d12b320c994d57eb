/** UnitNormalization: divides by the length along one axis or several. */

import { kerasShape, type LayerDefinition } from "../layer.ts";
import { placesOf, readAxes } from "./axes.ts";

/** Keras divides by at least this length. */
const LEAST = 1e-12;

export const unitNormalization: LayerDefinition = (config) => {
  const axes = readAxes(config, -1);

  return (c, [x]) => {
    const g = c.graph;
    const { value, order } = x!;
    const places = placesOf(axes, kerasShape(x!)).map((place) => (order ? order.indexOf(place) : place));
    const squares = g.op("ReduceSum", [g.op("Mul", [value, value]), g.ints(places)], { keepdims: 1 });
    const length = g.op("Sqrt", [g.op("Max", [squares, g.scalar(LEAST ** 2)])]);
    const unit = g.op("Div", [value, length]);
    return order ? { value: unit, order } : { value: unit };
  };
};
