/**
 * The operators Moiety builds graphs from, each with its shape rule (semantics: ONNX operator schemas, opset 18).
 * To add one: a rule in the file of its kind, an entry here, and a gradient in lib/autodiff if it is trained
 * through.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Node, TensorLiteral, ValueInfo } from "../graph.ts";
import { elementwise } from "./elementwise.ts";
import { linear } from "./linear.ts";
import { normalization } from "./normalization.ts";
import { recurrence } from "./recurrent.ts";
import { reduction } from "./reduction.ts";
import { NodeView, type OutputSpec, type ShapeRule } from "./rule.ts";
import { structure } from "./structure.ts";
import { window } from "./window.ts";

export const OPERATORS: Readonly<Record<string, ShapeRule>> = {
  ...elementwise,
  ...reduction,
  ...linear,
  ...window,
  ...structure,
  ...normalization,
  ...recurrence,
};

/** Type and shape of each output of `node`. @throws {InvalidModelError} for an unknown operator or unfit inputs */
export function inferOutputs(
  node: Node,
  inputs: readonly (ValueInfo | undefined)[],
  initializers: ReadonlyMap<string, TensorLiteral>,
): OutputSpec[] {
  const rule = Object.hasOwn(OPERATORS, node.op) ? OPERATORS[node.op] : undefined;
  if (!rule) throw new InvalidModelError(`node '${node.name}'`, `operator '${node.op}' has no shape rule`);
  const specs = rule(new NodeView(node, inputs, initializers));
  if (specs.length < node.outputs.length)
    throw new InvalidModelError(
      `node '${node.name}'`,
      `${node.op} gives ${specs.length} output(s) here, ${node.outputs.length} were asked for`,
    );
  return specs;
}
