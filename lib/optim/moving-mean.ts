/** Exponential moving means, as arithmetic on graph values. */

import type { GraphBuilder, Value } from "../onnx/builder.ts";

/** from + (to - from) · share. */
export function towards(g: GraphBuilder, from: Value, to: Value, share: Value): Value {
  return g.op("Add", [from, g.op("Mul", [g.op("Sub", [to, from]), share])]);
}
