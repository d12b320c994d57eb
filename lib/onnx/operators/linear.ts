/** Matrix products. */

import { broadcast, describe, type ShapeRule } from "./rule.ts";

const gemm: ShapeRule = (n) => {
  const [a, b] = [n.input(0), n.input(1)];
  if (a.shape.length !== 2 || b.shape.length !== 2) n.fail("operands must be matrices");
  const [rows, inner] = n.int("transA", 0) ? [a.shape[1]!, a.shape[0]!] : [a.shape[0]!, a.shape[1]!];
  const [inner2, columns] = n.int("transB", 0) ? [b.shape[1]!, b.shape[0]!] : [b.shape[0]!, b.shape[1]!];
  if (inner !== inner2) n.fail(`inner sizes ${inner} and ${inner2} differ`);
  if (n.has(2) && broadcast(n.input(2).shape, [rows, columns])?.join() !== `${rows},${columns}`)
    n.fail(`addend ${describe(n.input(2).shape)} does not broadcast to [${rows},${columns}]`);
  return [{ datatype: a.datatype, shape: [rows, columns] }];
};

const matMul: ShapeRule = (n) => {
  const [a, b] = [n.input(0), n.input(1)];
  if (a.shape.length < 2 || b.shape.length < 2) n.fail("operands need at least two dimensions");
  const [rows, inner] = a.shape.slice(-2) as [number, number];
  const [inner2, columns] = b.shape.slice(-2) as [number, number];
  if (inner !== inner2) n.fail(`inner sizes of ${describe(a.shape)} and ${describe(b.shape)} differ`);
  const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2));
  if (!batch)
    return n.fail(`batch dimensions of ${describe(a.shape)} and ${describe(b.shape)} do not broadcast`);
  return [{ datatype: a.datatype, shape: [...batch, rows, columns] }];
};

export const linear: Record<string, ShapeRule> = { Gemm: gemm, MatMul: matMul };
