/**
 * Compiles a graph of elementwise operators over equally long float32 vectors and scalars into one WebAssembly loop:
 * each vector is read once, everything between stays in registers, each result is written once. The same operations
 * in the same order as the graph's, each rounded as IEEE 754 says, so the results are the graph's, but for numbers
 * below the smallest normal one: they are written as nought, as a session that sets denormals to zero does.
 */

import type { Graph } from "../graph.ts";
import {
  ADD_INTEGERS,
  access,
  type Code,
  getLocal,
  LESS_UNSIGNED,
  loopWhile,
  moduleBytes,
  setLocal,
  smallInteger,
  splat,
  type VectorOp,
  vectorOp,
} from "./module-bytes.ts";

/** Bytes that the loop takes at a time: every vector must have room for a multiple of them. */
export const STRIDE_BYTES = 16;

const SMALLEST_NORMAL = 2 ** -126;

/** Code that leaves the result on the stack, from code that leaves each input there. */
type Operator = (inputs: readonly Code[]) => Code;

const unary =
  (name: VectorOp): Operator =>
  ([x]) => [...x!, ...vectorOp(name)];
const binary =
  (name: VectorOp): Operator =>
  ([first, ...others]) => [...first!, ...others.flatMap((other) => [...other, ...vectorOp(name)])];
/** 1 where `compare` holds for x and nought, else 0. */
const oneWhere = (compare: "f32x4.gt" | "f32x4.lt", x: Code): Code => [
  ...x,
  ...splat(0),
  ...vectorOp(compare),
  ...splat(1),
  ...vectorOp("v128.and"),
];

/** Of what is no number, itself. */
const sign = (x: Code): Code => [
  ...oneWhere("f32x4.gt", x),
  ...oneWhere("f32x4.lt", x),
  ...vectorOp("f32x4.sub"),
  ...x,
  ...x,
  ...x,
  ...vectorOp("f32x4.eq"),
  ...vectorOp("v128.bitselect"),
];

/** By ONNX's name. Truth is a mask of all ones. */
const OPERATORS: Readonly<Record<string, Operator>> = {
  Abs: unary("f32x4.abs"),
  Add: binary("f32x4.add"),
  Div: binary("f32x4.div"),
  Greater: binary("f32x4.gt"),
  Identity: ([x]) => x!,
  Less: binary("f32x4.lt"),
  Max: binary("f32x4.max"),
  Min: binary("f32x4.min"),
  Mul: binary("f32x4.mul"),
  Neg: unary("f32x4.neg"),
  Sign: ([x]) => sign(x!),
  Sqrt: unary("f32x4.sqrt"),
  Sub: binary("f32x4.sub"),
  Where: ([condition, yes, no]) => [...yes!, ...no!, ...condition!, ...vectorOp("v128.bitselect")],
};

/**
 * A module that imports `memory.memory` and exports `run`. Parameters: the address of each input (a scalar's is that
 * of its one float32), then of each output, in the graph's order, then how many bytes a vector has, a positive multiple
 * of `STRIDE_BYTES`. An output may lie where an input does. Undefined when the graph is not of such operators alone.
 */
export function elementwiseModule(graph: Graph): Uint8Array<ArrayBuffer> | undefined {
  const size = graph.outputs[0]?.shape[0];
  const isVector = (shape: readonly unknown[]) => shape.length === 1 && shape[0] === size;
  const fits = graph.inputs.every(
    ({ datatype, shape }) => datatype === "FP32" && (shape.length === 0 || isVector(shape)),
  );
  if (!fits || !graph.outputs.every(({ datatype, shape }) => datatype === "FP32" && isVector(shape)))
    return undefined;

  const parameters = graph.inputs.length + graph.outputs.length + 1;
  const [length, offset] = [parameters - 1, parameters];
  const firstVector = parameters + 1;
  let vectors = 0;
  const kept = new Map<string, { local: number; inLoop: boolean }>();
  const code: { before: Code; inLoop: Code } = { before: [], inLoop: [] };
  const keep = (value: string, inLoop: boolean, made: Code) => {
    const local = firstVector + vectors++;
    kept.set(value, { local, inLoop });
    (inLoop ? code.inLoop : code.before).push(...made, ...setLocal(local));
  };
  const element = (parameter: number): Code => [...getLocal(parameter), ...getLocal(offset), ...ADD_INTEGERS];

  for (const [name, { datatype, shape, data }] of graph.initializers) {
    if (datatype !== "FP32" || shape.length > 0) return undefined;
    keep(name, false, splat(Number(data[0])));
  }
  for (const [i, { name, shape }] of graph.inputs.entries())
    if (shape.length === 0) keep(name, false, [...getLocal(i), ...access("v128.load32_splat")]);
    else keep(name, true, [...element(i), ...access("v128.load")]);
  for (const { op, domain, inputs, outputs } of graph.nodes) {
    const operator = domain === "" && Object.hasOwn(OPERATORS, op) ? OPERATORS[op] : undefined;
    const from = inputs.map((name) => kept.get(name));
    if (!operator || from.some((value) => !value) || outputs.length !== 1) return undefined;
    keep(
      outputs[0]!,
      from.some((value) => value!.inLoop),
      operator(from.map((value) => getLocal(value!.local))),
    );
  }
  for (const [i, { name }] of graph.outputs.entries()) {
    const value = kept.get(name);
    if (!value) return undefined;
    const { local } = value;
    code.inLoop.push(...element(graph.inputs.length + i), ...normalOrNought(local), ...access("v128.store"));
  }
  const next: Code = [
    ...getLocal(offset),
    ...smallInteger(STRIDE_BYTES),
    ...ADD_INTEGERS,
    ...setLocal(offset),
    ...getLocal(offset),
    ...getLocal(length),
    ...LESS_UNSIGNED,
  ];
  const body = [...code.before, ...loopWhile([...code.inLoop, ...next])];
  return moduleBytes({ parameters, integers: 1, vectors, body });
}

/** Moments that vanish would turn denormal and stay so, at many times the cost of normal numbers. */
function normalOrNought(local: number): Code {
  return [
    ...getLocal(local),
    ...getLocal(local),
    ...vectorOp("f32x4.abs"),
    ...splat(SMALLEST_NORMAL),
    ...vectorOp("f32x4.lt"),
    ...vectorOp("v128.andnot"),
  ];
}
