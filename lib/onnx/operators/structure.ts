/** Operators that move data without arithmetic: reshape, transpose, slice, join, gather, pad. */

import type { Dim } from "../graph.ts";
import { broadcast, describe, joined, product, type ShapeRule } from "./rule.ts";

/** Target sizes: 0 copies the input's, -1 is what remains. */
const reshape: ShapeRule = (n) => {
  const x = n.input(0);
  const target = n.constant(1);
  const shape: Dim[] = target.map((size, i) =>
    size === 0 && n.int("allowzero", 0) === 0 ? (x.shape[i] ?? n.fail(`no size ${i} to copy`)) : size,
  );
  const open = shape.indexOf(-1);
  const whole = product(x.shape);
  const known = product(shape.filter((_, i) => i !== open));
  const names = [...whole.names];
  for (const name of known.names) {
    const at = names.indexOf(name);
    if (at < 0) n.fail(`${describe(x.shape)} cannot become ${describe(shape)}`);
    names.splice(at, 1);
  }
  const rest = whole.size / known.size;
  if (open < 0) {
    if (rest !== 1 || names.length > 0) n.fail(`${describe(x.shape)} cannot become ${describe(shape)}`);
  } else {
    const remains = Number.isInteger(rest) ? joined({ size: rest, names }) : undefined;
    shape[open] = remains ?? n.fail(`${describe(x.shape)} cannot become ${describe(shape)}`);
  }
  return [{ datatype: x.datatype, shape }];
};

const flatten: ShapeRule = (n) => {
  const x = n.input(0);
  const axis = n.int("axis", 1);
  const fold = (dims: Dim[]): Dim => joined(product(dims)) ?? n.fail(`cannot flatten ${describe(x.shape)}`);
  return [{ datatype: x.datatype, shape: [fold(x.shape.slice(0, axis)), fold(x.shape.slice(axis))] }];
};

const transpose: ShapeRule = (n) => {
  const x = n.input(0);
  const order = n.ints("perm") ?? x.shape.map((_, i) => x.shape.length - 1 - i);
  if ([...order].sort((a, b) => a - b).join() !== x.shape.map((_, i) => i).join())
    n.fail(`perm [${order}] is no permutation of the axes of ${describe(x.shape)}`);
  return [{ datatype: x.datatype, shape: order.map((axis) => x.shape[axis]!) }];
};

const slice: ShapeRule = (n) => {
  const x = n.input(0);
  const shape = [...x.shape];
  const [starts, ends] = [n.constant(1), n.constant(2)];
  const axes = n.has(3) ? n.constant(3) : starts.map((_, i) => i);
  const steps = n.has(4) ? n.constant(4) : starts.map(() => 1);
  for (const [i, given] of axes.entries()) {
    const axis = n.axis(given, shape.length);
    const size = shape[axis];
    if (typeof size !== "number") return n.fail(`size '${size}' of axis ${axis} must be known`);
    const step = steps[i]!;
    const bound = (at: number) => {
      const position = at < 0 ? at + size : at;
      return step > 0 ? Math.min(Math.max(position, 0), size) : Math.min(Math.max(position, -1), size - 1);
    };
    const end = ends[i]! < -size ? (step > 0 ? 0 : -1) : bound(ends[i]!);
    shape[axis] = Math.max(0, Math.ceil((end - bound(starts[i]!)) / step));
  }
  return [{ datatype: x.datatype, shape }];
};

const concat: ShapeRule = (n) => {
  const first = n.input(0);
  const axis = n.axis(n.int("axis", 0), first.shape.length);
  const shape = [...first.shape];
  for (const other of n.inputs.slice(1)) {
    const fits =
      other.shape.length === shape.length && other.shape.every((d, i) => i === axis || d === shape[i]);
    if (!fits) n.fail(`${describe(other.shape)} does not join ${describe(first.shape)} along axis ${axis}`);
    const [size, more] = [shape[axis], other.shape[axis]];
    if (typeof size !== "number" || typeof more !== "number") return n.fail("joined sizes must be known");
    shape[axis] = size + more;
  }
  return [{ datatype: first.datatype, shape }];
};

const split: ShapeRule = (n) => {
  const x = n.input(0);
  const axis = n.axis(n.int("axis", 0), x.shape.length);
  const size = x.shape[axis];
  if (typeof size !== "number") return n.fail("the split size must be known");
  // Without sizes every part is as large as the first, but the last, which may be smaller.
  const part = Math.ceil(size / n.outputCount);
  const parts = n.has(1)
    ? n.constant(1)
    : n.node.outputs.map((_, i) => Math.max(0, Math.min(part, size - i * part)));
  if (parts.reduce((a, b) => a + b, 0) !== size || parts.length !== n.outputCount)
    n.fail(`parts [${parts}] do not make up ${size}`);
  return parts.map((part) => ({ datatype: x.datatype, shape: x.shape.with(axis, part) }));
};

const squeeze: ShapeRule = (n) => {
  const x = n.input(0);
  const axes = n.has(1)
    ? n.constant(1).map((axis) => n.axis(axis, x.shape.length))
    : x.shape.flatMap((d, i) => (d === 1 ? [i] : []));
  for (const axis of axes)
    if (x.shape[axis] !== 1) n.fail(`axis ${axis} of ${describe(x.shape)} is not of size 1`);
  return [{ datatype: x.datatype, shape: x.shape.filter((_, i) => !axes.includes(i)) }];
};

const unsqueeze: ShapeRule = (n) => {
  const x = n.input(0);
  const given = n.constant(1);
  const rank = x.shape.length + given.length;
  const axes = given.map((axis) => n.axis(axis, rank));
  let next = 0;
  const shape = Array.from({ length: rank }, (_, i): Dim => (axes.includes(i) ? 1 : x.shape[next++]!));
  return [{ datatype: x.datatype, shape }];
};

const expand: ShapeRule = (n) => {
  const x = n.input(0);
  const shape = broadcast(x.shape, n.constant(1));
  if (!shape) return n.fail(`${describe(x.shape)} does not broadcast to [${n.constant(1)}]`);
  return [{ datatype: x.datatype, shape }];
};

const gather: ShapeRule = (n) => {
  const [x, indices] = [n.input(0), n.input(1)];
  const axis = n.axis(n.int("axis", 0), x.shape.length);
  return [
    {
      datatype: x.datatype,
      shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)],
    },
  ];
};

const pad: ShapeRule = (n) => {
  const x = n.input(0);
  const pads = n.constant(1);
  const rank = x.shape.length;
  const axes = n.has(3) ? n.constant(3).map((axis) => n.axis(axis, rank)) : x.shape.map((_, i) => i);
  if (pads.length !== 2 * axes.length)
    n.fail(`${pads.length} pads given, ${2 * axes.length} needed for ${describe(x.shape)}`);
  const shape = x.shape.map((size, i) => {
    const at = axes.indexOf(i);
    const extra = at < 0 ? 0 : pads[at]! + pads[at + axes.length]!;
    return extra === 0
      ? size
      : typeof size === "number"
        ? size + extra
        : n.fail("padded sizes must be known");
  });
  return [{ datatype: x.datatype, shape }];
};

/** By scales (input 2), named sizes stay; or to sizes (input 3), of all axes or of those that `axes` names. */
const resize: ShapeRule = (n) => {
  const x = n.input(0);
  if (n.has(3)) {
    const sizes = n.constant(3);
    const axes = (n.ints("axes") ?? x.shape.map((_, i) => i)).map((axis) => n.axis(axis, x.shape.length));
    if (sizes.length !== axes.length) n.fail(`${sizes.length} sizes for ${axes.length} axes`);
    return [
      {
        datatype: x.datatype,
        shape: x.shape.map((size, i) => (axes.includes(i) ? sizes[axes.indexOf(i)]! : size)),
      },
    ];
  }
  const scales = n.constant(2);
  if (scales.length !== x.shape.length) n.fail(`${scales.length} scales do not fit ${describe(x.shape)}`);
  const shape = x.shape.map((size, i) =>
    scales[i] === 1
      ? size
      : typeof size === "number"
        ? Math.floor(size * scales[i]!)
        : n.fail("scaled sizes must be known"),
  );
  return [{ datatype: x.datatype, shape }];
};

const sameAsData: ShapeRule = (n) => [{ datatype: n.input(0).datatype, shape: [...n.input(0).shape] }];

/** depth is a constant; values [off, on] give the type. */
const oneHot: ShapeRule = (n) => {
  const indices = n.input(0).shape;
  const axis = n.axis(n.int("axis", -1), indices.length + 1);
  return [
    {
      datatype: n.input(2).datatype,
      shape: [...indices.slice(0, axis), n.constant(1)[0]!, ...indices.slice(axis)],
    },
  ];
};

export const structure: Record<string, ShapeRule> = {
  Reshape: reshape,
  Flatten: flatten,
  Transpose: transpose,
  Slice: slice,
  Concat: concat,
  Split: split,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: expand,
  Gather: gather,
  Pad: pad,
  Resize: resize,
  CumSum: sameAsData,
  ScatterElements: sameAsData,
  OneHot: oneHot,
};
