/** What a shape rule sees of a node, and the small algebra of dimensions that rules share. */

import { InvalidModelError } from "../../errors.ts";
import type { Datatype } from "../../tensor/datatype.ts";
import { type Dim, Float, type Node, type TensorLiteral, type ValueInfo } from "../graph.ts";

export type OutputSpec = { datatype: Datatype; shape: Dim[] };

/** Type and shape of every output of a node, from those of its inputs. @throws {InvalidModelError} */
export type ShapeRule = (node: NodeView) => OutputSpec[];

export class NodeView {
  readonly node: Node;
  private readonly present: readonly (ValueInfo | undefined)[];
  private readonly initializers: ReadonlyMap<string, TensorLiteral>;

  constructor(
    node: Node,
    inputs: readonly (ValueInfo | undefined)[],
    initializers: ReadonlyMap<string, TensorLiteral>,
  ) {
    this.node = node;
    this.present = inputs;
    this.initializers = initializers;
  }

  get outputCount(): number {
    return this.node.outputs.length;
  }

  has(index: number): boolean {
    return this.present[index] !== undefined;
  }

  input(index: number): ValueInfo {
    const value = this.present[index];
    if (!value) this.fail(`input ${index} is missing`);
    return value;
  }

  get inputs(): ValueInfo[] {
    return this.present.map((_, index) => this.input(index));
  }

  int(name: string, fallback: number): number {
    const value = this.node.attributes[name] ?? fallback;
    return typeof value === "number" ? value : this.fail(`attribute '${name}' must be an integer`);
  }

  ints(name: string): number[] | undefined {
    const value = this.node.attributes[name];
    if (value === undefined) return undefined;
    return Array.isArray(value) && value.every((v): v is number => typeof v === "number")
      ? value
      : this.fail(`attribute '${name}' must be a list of integers`);
  }

  float(name: string, fallback: number): number {
    const value = this.node.attributes[name];
    if (value === undefined) return fallback;
    return value instanceof Float ? value.value : this.fail(`attribute '${name}' must be a float`);
  }

  string(name: string, fallback: string): string {
    const value = this.node.attributes[name] ?? fallback;
    return typeof value === "string" ? value : this.fail(`attribute '${name}' must be a string`);
  }

  /** The integers of an input that must be an initializer. */
  constant(index: number): number[] {
    const literal = this.initializers.get(this.input(index).name);
    if (!literal) this.fail(`input ${index} must be constant`);
    return Array.from(literal.data as ArrayLike<bigint | number>, Number);
  }

  /** `axis`, counted from the front. */
  axis(axis: number, rank: number): number {
    const positive = axis < 0 ? axis + rank : axis;
    if (positive < 0 || positive >= rank) this.fail(`axis ${axis} is out of range for rank ${rank}`);
    return positive;
  }

  fail(reason: string): never {
    throw new InvalidModelError(`node '${this.node.name}'`, `${this.node.op}: ${reason}`);
  }
}

export function describe(shape: readonly Dim[]): string {
  return `[${shape.join(",")}]`;
}

/** Numpy-style broadcast of two shapes; undefined when they do not fit. A named size fits itself and 1. */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): Dim[] | undefined {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[i - (rank - a.length)] ?? 1;
    const y = b[i - (rank - b.length)] ?? 1;
    if (x === y || y === 1) result.push(x);
    else if (x === 1) result.push(y);
    else return undefined;
  }
  return result;
}

/**
 * Product of sizes as a number and the multiset of named sizes. Of a size "3*batch" the number is 3, the name batch.
 */
export function product(shape: readonly Dim[]): { size: number; names: string[] } {
  let size = 1;
  const names: string[] = [];
  for (const dim of shape)
    if (typeof dim === "number") size *= dim;
    else {
      const [, factor, name] = /^(?:(\d+)\*)?(.*)$/s.exec(dim) as unknown as [string, string?, string?];
      size *= Number(factor ?? 1);
      names.push(name ?? dim);
    }
  return { size, names: names.sort() };
}

/** One size of what `product` gives; undefined when it is several named ones. */
export function joined({ size, names }: { size: number; names: readonly string[] }): Dim | undefined {
  const [name, ...others] = names;
  if (others.length > 0) return undefined;
  return name === undefined ? size : size === 1 ? name : `${size}*${name}`;
}
