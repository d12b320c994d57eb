/**
 * Gradients of softmax and its logarithm. Softmax's is y·(g - Σ g·y) along the axis.
 *
 * In attention y weighs values, O = y·V, and g = dO·Vᵀ; then Σ g·y = Σ dO·O (Dao et al. 2022, arXiv:2205.14135,
 * appendix B), a sum over the size of a head in place of one over all keys. So it is with elements of y dropped, if g
 * was multiplied by the same mask.
 */

import type { Value } from "../../onnx/builder.ts";
import type { Node } from "../../onnx/graph.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const softmax: GradientRule = (c) => {
  const axes = c.graph.ints([c.view.int("axis", -1)]);
  const [a, b] = weighed(c) ?? [c.gradient(), c.output()];
  const inner = c.op("ReduceSum", [c.mul(a, b), axes], { keepdims: 1 });
  return [c.mul(c.output(), c.sub(c.gradient(), inner))];
};

/** dO and O, where the output weighs the rows of some V and nothing else, and they are smaller than g and y. */
function weighed(c: GradientContext): [Value, Value] | undefined {
  const [y, g] = [c.output(), c.gradient()];
  const axis = c.view.axis(c.view.int("axis", -1), y.shape.length);
  if (axis !== y.shape.length - 1) return undefined;
  const dropped = makerOf(c, g, "Mul");
  const product = makerOf(c, dropped ? c.graph.valueOf(dropped.inputs[0]!) : g, "MatMul");
  const turned = product && makerOf(c, c.graph.valueOf(product.inputs[1]!), "Transpose");
  if (!product || !turned) return undefined;
  const last = y.shape.length - 1;
  if (String(turned.attributes.perm) !== String([...y.shape.keys()].slice(0, -2).concat(last, last - 1)))
    return undefined;
  const weights = dropped
    ? c.graph.nodes.find(
        (node) => node.op === "Mul" && String(node.inputs) === `${y.name},${dropped.inputs[1]}`,
      )?.outputs[0]
    : y.name;
  const forward = c.graph.nodes.find(
    (node) => node.op === "MatMul" && node.inputs[0] === weights && node.inputs[1] === turned.inputs[0],
  );
  if (!weights || !forward) return undefined;
  const [rows, result] = [c.graph.valueOf(product.inputs[0]!), c.graph.valueOf(forward.outputs[0]!)];
  const smaller = Number(result.shape.at(-1)) < Number(y.shape.at(-1));
  return smaller && rows.shape.join() === result.shape.join() ? [rows, result] : undefined;
}

function makerOf(c: GradientContext, { name }: Value, op: string): Node | undefined {
  const maker = c.graph.nodes.findLast((node) => node.outputs.includes(name));
  return maker?.op === op ? maker : undefined;
}

/** g - softmax·Σ g along the axis. */
const logSoftmax: GradientRule = (c) => {
  const axes = c.graph.ints([c.view.int("axis", -1)]);
  const inner = c.op("ReduceSum", [c.gradient(), axes], { keepdims: 1 });
  return [c.sub(c.gradient(), c.mul(c.op("Exp", [c.output()]), inner))];
};

export const softmaxes: Record<string, GradientRule> = { Softmax: softmax, LogSoftmax: logSoftmax };
