/** Operators that work element by element: arithmetic, comparison, activation, cast. */

import { DATATYPES, type Datatype } from "../../tensor/datatype.ts";
import { ONNX_TYPE } from "../proto.ts";
import { broadcast, describe, type ShapeRule } from "./rule.ts";

const same: ShapeRule = (n) => [{ datatype: n.input(0).datatype, shape: [...n.input(0).shape] }];

const together =
  (result?: Datatype): ShapeRule =>
  (n) => {
    let shape = n.input(0).shape;
    for (const other of n.inputs.slice(1)) {
      const joined = broadcast(shape, other.shape);
      if (!joined) return n.fail(`shapes ${describe(shape)} and ${describe(other.shape)} do not broadcast`);
      if (other.datatype !== n.input(0).datatype)
        n.fail(`types ${n.input(0).datatype} and ${other.datatype} differ`);
      shape = joined;
    }
    return [{ datatype: result ?? n.input(0).datatype, shape: [...shape] }];
  };

const where: ShapeRule = (n) => {
  const values = broadcast(n.input(1).shape, n.input(2).shape);
  const shape = values && broadcast(n.input(0).shape, values);
  if (!shape) return n.fail("shapes do not broadcast");
  return [{ datatype: n.input(1).datatype, shape }];
};

const cast: ShapeRule = (n) => {
  const datatype = DATATYPES.find((name) => ONNX_TYPE[name] === n.int("to", 0));
  if (!datatype) return n.fail(`cannot cast to type ${n.int("to", 0)}`);
  return [{ datatype, shape: [...n.input(0).shape] }];
};

const names = (list: string, rule: ShapeRule): Record<string, ShapeRule> =>
  Object.fromEntries(list.split(" ").map((name) => [name, rule]));

export const elementwise: Record<string, ShapeRule> = {
  ...names(
    "Identity Neg Abs Exp Log Sqrt Reciprocal Relu Sigmoid Tanh Softplus Softsign Erf Sign Floor Ceil Round Clip " +
      "LeakyRelu Elu Selu HardSigmoid Not Sin Cos",
    same,
  ),
  ...names("Softmax LogSoftmax", same),
  ...names("Add Sub Mul Div Pow Sum Mean Max Min And Or PRelu", together()),
  ...names("Equal Greater GreaterOrEqual Less LessOrEqual", together("BOOL")),
  Where: where,
  Cast: cast,
};
