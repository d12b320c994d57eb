/**
 * Reverse-mode differentiation over an ONNX graph: walks the forward nodes from the loss back and appends, per
 * node, the backward nodes its operator's rule gives. Only values on a path from a wanted parameter to the loss
 * get a gradient, so nothing is computed for data inputs or frozen weights.
 */

import { InvalidModelError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import { GradientContext } from "./gradient-rule.ts";
import { GRADIENTS } from "./gradients/table.ts";

/**
 * Gradients of the scalar `loss` with respect to each of `parameters`, in their order and shapes. A parameter the
 * loss does not depend on gets zeros.
 * @throws {InvalidModelError} when an operator on the way has no gradient rule
 */
export function gradients(graph: GraphBuilder, loss: Value, parameters: readonly Value[]): Value[] {
  if (loss.shape.length !== 0 && loss.shape.join() !== "1")
    throw new InvalidModelError(
      `value '${loss.name}'`,
      `the loss must be a scalar, not [${loss.shape.join(",")}]`,
    );

  const forward = [...graph.nodes];
  const dependent = new Set(parameters.map((p) => p.name));
  for (const node of forward)
    if (node.inputs.some((name) => dependent.has(name)))
      for (const name of node.outputs) if (isContinuous(graph, name)) dependent.add(name);

  const partial = new Map<string, Value[]>();
  const one = graph.scalar(1);
  partial.set(loss.name, [loss.shape.length === 0 ? one : graph.op("Reshape", [one, graph.ints([1])])]);

  const total = (name: string): Value | undefined => {
    const parts = partial.get(name);
    if (!parts || parts.length === 0) return undefined;
    // Additions work in place and in parallel; Sum takes twice their time.
    const sum = parts.reduce((left, right) => graph.op("Add", [left, right]));
    partial.set(name, [sum]);
    return sum;
  };

  for (const node of forward.reverse()) {
    if (!node.outputs.some((name) => partial.has(name) && dependent.has(name))) continue;
    const wanted = node.inputs.map((name) => dependent.has(name));
    if (!wanted.includes(true)) continue;
    const rule = Object.hasOwn(GRADIENTS, node.op) ? GRADIENTS[node.op] : undefined;
    if (!rule)
      throw new InvalidModelError(`node '${node.name}'`, `operator '${node.op}' has no gradient rule`);
    const found = rule(new GradientContext(graph, node, node.outputs.map(total), wanted));
    found.forEach((gradient, i) => {
      const name = node.inputs[i];
      if (!gradient || !name || !wanted[i]) return;
      const expected = graph.valueOf(name).shape;
      if (gradient.shape.join() !== expected.join())
        throw new InvalidModelError(
          `node '${node.name}'`,
          `gradient of input ${i} is [${gradient.shape.join(",")}], not [${expected.join(",")}]`,
        );
      partial.set(name, [...(partial.get(name) ?? []), gradient]);
    });
  }

  return parameters.map((parameter) => total(parameter.name) ?? zeros(graph, parameter));
}

/** Comparisons and indices change in steps: nothing flows back through them. */
function isContinuous(graph: GraphBuilder, name: string): boolean {
  return name !== "" && graph.valueOf(name).datatype.startsWith("FP");
}

function zeros(graph: GraphBuilder, like: Value): Value {
  const sizes = like.shape.map((dim) => {
    if (typeof dim === "number") return dim;
    throw new InvalidModelError(`value '${like.name}'`, `size '${dim}' must be known to differentiate`);
  });
  return graph.op("Expand", [graph.scalar(0), graph.ints(sizes)]);
}
