/** Applies the constraints of weights to the flat vector an update gives; the others pass through in one piece. */

import type { WeightSpec } from "../nn/layer.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import { layoutOf } from "./weight-layout.ts";

/** `flat` [size of all] as `layoutOf(specs)` lays it out. @throws {InvalidModelError} when a constraint does not fit */
export function constrainWeights(graph: GraphBuilder, flat: Value, specs: readonly WeightSpec[]): Value {
  const { slices } = layoutOf(specs);
  const pieces: { size: number; spec?: WeightSpec }[] = [];
  for (const [i, spec] of specs.entries()) {
    const { size } = slices[i]!;
    const last = pieces.at(-1);
    if (spec.constraint) pieces.push({ size, spec });
    else if (last && !last.spec) last.size += size;
    else pieces.push({ size });
  }
  if (!pieces.some(({ spec }) => spec)) return flat;
  const sizes = pieces.map(({ size }) => size);
  const parts =
    sizes.length === 1 ? [flat] : graph.ops("Split", [flat, graph.ints(sizes)], sizes.length, { axis: 0 });
  const constrained = pieces.map(({ spec }, i) => {
    if (!spec?.constraint) return parts[i]!;
    const weight = graph.op("Reshape", [parts[i]!, graph.ints(spec.shape)]);
    return graph.op("Reshape", [spec.constraint(graph, weight, spec.order), graph.ints([-1])]);
  });
  return constrained.length === 1 ? constrained[0]! : graph.op("Concat", constrained, { axis: 0 });
}
