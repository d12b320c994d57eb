/**
 * An ONNX graph in memory: the shape every part of Moiety builds, differentiates, transforms and runs.
 * Plain data; `builder.ts` makes one with shapes inferred, `proto.ts` reads and writes the file format
 * (ONNX IR, github.com/onnx/onnx/blob/main/docs/IR.md).
 */

import type { Datatype, TensorData } from "../tensor/datatype.ts";

/** A known size, or the name of one that varies ("batch"). */
export type Dim = number | string;

export type ValueInfo = { name: string; datatype: Datatype; shape: Dim[] };

/** Constant data inside a graph, row-major. */
export type TensorLiteral = { datatype: Datatype; shape: number[]; data: TensorData };

/** Wraps a number that must be written as an ONNX float attribute; bare numbers are integers. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

export function float(value: number): Float {
  return new Float(value);
}

/** `number` and `number[]` are integer attributes; `Float` and `Float32Array` are floating point ones. */
export type Attribute = number | number[] | Float | Float32Array | string | string[] | TensorLiteral | Graph;

export type Attributes = Record<string, Attribute>;

export type Node = {
  name: string;
  op: string;
  /** "" is the ONNX domain. */
  domain: string;
  /** Value names; "" is an omitted optional input. */
  inputs: string[];
  outputs: string[];
  attributes: Attributes;
};

export type Graph = {
  name: string;
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  initializers: Map<string, TensorLiteral>;
  /** In an order in which every value is made before it is used. */
  nodes: Node[];
};

export type Model = {
  graph: Graph;
  /** Operator set versions by domain; "" is ONNX's own. */
  opsets: Record<string, number>;
  producer: string;
  /** Free text stored with the file. */
  metadata: Record<string, string>;
};

/** The operator set Moiety writes. */
export const OPSET = 18;

export function isGraph(attribute: Attribute): attribute is Graph {
  return typeof attribute === "object" && "nodes" in attribute;
}

export function literalOf(data: Float32Array, shape: number[]): TensorLiteral {
  return { datatype: "FP32", shape, data };
}

export function integers(values: readonly number[], shape: number[] = [values.length]): TensorLiteral {
  return { datatype: "INT64", shape, data: BigInt64Array.from(values, BigInt) };
}
